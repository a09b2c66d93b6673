import NIOCore

/// Says how long a loop with nothing to do looks on for events before it sleeps.
///
/// Who sleeps has to be woken, and a processor that halted meanwhile takes tens of microseconds for
/// that on a virtual machine. A put waits a dozen times in three members, mostly not much longer than
/// that. So while work is frequent the loop looks again and again, and gives way to whoever is ready
/// in between (`sched_yield`); at rest, when heartbeats are all there is, it sleeps at once.
///
/// Giving way costs a thread its turn. Where others compute without a pause it sleeps, too: who is
/// woken goes before them, or to another processor.
package struct IdlePolling {
    /// Longer than most waits of frequent work.
    package static let usualLimit = TimeAmount.microseconds(100)
    /// A thread that looked for longer would hardly sleep at all.
    package static let largestLimit = rest

    private let limit: TimeAmount
    /// Waits without a look before the next that has one.
    private var sleepsAhead = Self.sleepsAfterRest

    /// A longer wait is rest: a look in vain costs a hundredth of it at most.
    private static let rest = TimeAmount.milliseconds(10)
    /// More than there are followers that answer a heartbeat.
    private static let sleepsAfterRest = 8
    /// Others compute if the processor isn't given back for so long: renewals with 64 × 16 came to a
    /// quarter less without this, and puts with 8 × 16 to no more if 300 µs were enough.
    private static let crowd = TimeAmount.milliseconds(1)
    private static let sleepsAfterCrowd = 64

    /// - Parameter limit: how long to look at most; zero never to.
    init(limit: TimeAmount) {
        self.limit = limit
    }

    /// How long to look before the next sleep.
    var time: TimeAmount { sleepsAhead > 0 ? .zero : limit }

    /// Others had the processor for so long, between two looks.
    mutating func gaveWay(for time: TimeAmount) {
        if time >= Self.crowd { sleepsAhead = Self.sleepsAfterCrowd }
    }

    /// A wait has ended, whether the loop looked on or slept.
    mutating func waited(_ time: TimeAmount) {
        if time >= Self.rest {
            sleepsAhead = Self.sleepsAfterRest
        } else if sleepsAhead > 0 {
            sleepsAhead -= 1
        }
    }
}
