//  Simulation: a cluster of production members in a world made of one seed.
//
//  `World` runs `Replica`, with the log, the map and the codecs it is made of, in one thread and in
//  virtual time. Disks, links, clocks and clients are simulated; nothing else is. The same seed
//  gives the same history, to the last byte, on any machine.
//
//  - `World/`: time, members, disks, links, faults.
//  - `Clients/`: what clients do, and the oracle that knows what they may see.
//  - `Checks/`: the invariants, one file each, looked at after each event.
//  - `Triage/`: running many seeds, telling the story of one, making it shorter.
//
//  docs/simulation.md explains the world and its limits.
