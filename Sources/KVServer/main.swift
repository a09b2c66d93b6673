print("kvserver")
