import Glibc

/// A line on the terminal that tells how far long work has come; nothing where there is none.
struct ProgressLine {
    private let isShown = Output.isTerminal(STDERR_FILENO)
    private var text = ""

    /// Shows a text in place of the last one.
    mutating func show(_ newText: String) {
        guard isShown, newText != text else { return }
        text = newText
        draw()
    }

    /// Writes something else in between.
    func interrupt(_ body: () -> Void) {
        clear()
        body()
        draw()
    }

    /// Takes the line away.
    mutating func finish() {
        clear()
        text = ""
    }

    private func clear() {
        if isShown { Output.hint("\r\u{1b}[K") }
    }

    private func draw() {
        clear()
        if isShown { Output.hint(text) }
    }
}
