/// A table with borders, as etcdctl draws it.
struct Table {
    private let header: [String]
    private var rows: [[String]] = []

    init(_ header: [String]) {
        self.header = header
    }

    mutating func add(_ row: [String]) {
        precondition(row.count == header.count, "a row needs one cell per column")
        rows.append(row)
    }

    var text: String {
        var widths = header.map(\.count)
        for row in rows {
            for (column, cell) in row.enumerated() {
                widths[column] = max(widths[column], cell.count)
            }
        }
        let border = "+" + widths.map { String(repeating: "-", count: $0 + 2) + "+" }.joined()
        var lines = [border, Self.line(header, widths, isCentred: true), border]
        lines += rows.map { Self.line($0, widths, isCentred: false) }
        lines.append(border)
        return lines.joined(separator: "\n") + "\n"
    }

    private static func line(_ cells: [String], _ widths: [Int], isCentred: Bool) -> String {
        var line = "|"
        for (cell, width) in zip(cells, widths) {
            let space = width - cell.count
            let left =
                isCentred ? space / 2 : Double(cell) != nil && !cell.isEmpty ? space : 0
            line += " " + String(repeating: " ", count: left) + cell
            line += String(repeating: " ", count: space - left) + " |"
        }
        return line
    }
}
