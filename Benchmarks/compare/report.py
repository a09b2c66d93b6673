"""Prints figures as a table, as JSON and as a picture."""

import json
import statistics
from dataclasses import dataclass


@dataclass
class Line:
    """A row with what was seen: figures of each round, and CPU microseconds per request."""
    row: object
    work: str
    etcd: list
    martlet: list
    etcd_cpu: list
    martlet_cpu: list

    @property
    def ratios(self):
        """Of the rounds: the two figures of each were seen seconds apart."""
        if not self.row.is_compared:
            return []
        return [martlet / etcd for etcd, martlet in zip(self.etcd, self.martlet) if etcd]

    @property
    def ratio(self):
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def is_met(self):
        return self.row.is_met(self.ratio, statistics.median(self.martlet))

    @property
    def goal(self):
        row = self.row
        if row.bound is not None:
            return f"≤ {row.bound:g} {row.unit}"
        if row.at_least is not None:
            return f"≥ {row.at_least:g} ×"
        if row.at_most is not None:
            return f"≤ {row.at_most:g} ×"
        return ""


def number(value):
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def figure(values, unit):
    """The median, and half the distance between the extremes in percent of it."""
    if not values:
        return "–"
    middle = statistics.median(values)
    text = f"{number(middle)} {unit}".replace(" /s", "/s")
    if len(values) > 1 and middle:
        text += f" ± {(max(values) - min(values)) / 2 / middle * 100:.0f} %"
    return text


def quartiled(values, form, unit):
    """The median, and the quartiles of four or more."""
    text = f"{form(statistics.median(values))} {unit}"
    if len(values) >= 4:
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        text += f" ({form(low)}–{form(high)})"
    return text


def ratio(values):
    return quartiled(values, "{:.2f}".format, "×") if values else ""


def cpu(values):
    return number(statistics.median(values)) if values else ""


def markdown(lines):
    head = ["work", "etcd 3.5.1", "Martlet", "ratio", "goal", "", "CPU µs/request, etcd", "Martlet"]
    table = [head, ["---"] * len(head)]
    for line in lines:
        verdict = {True: "met", False: "**missed**", None: ""}[line.is_met]
        table.append([
            line.row.title, figure(line.etcd, line.row.unit), figure(line.martlet, line.row.unit),
            ratio(line.ratios), line.goal, verdict, cpu(line.etcd_cpu), cpu(line.martlet_cpu)])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in table)


def as_json(lines):
    return json.dumps([{
        "work": line.work, "figure": line.row.figure, "title": line.row.title,
        "unit": line.row.unit, "etcd": line.etcd, "martlet": line.martlet, "ratio": line.ratio,
        "goal": line.goal, "isMet": line.is_met, "etcdCPUMicroseconds": line.etcd_cpu,
        "martletCPUMicroseconds": line.martlet_cpu,
    } for line in lines], indent=1, ensure_ascii=False)


# The picture: rates side by side, etcd's as 1.

BAR, GAP, LEFT, WIDTH = 14, 12, 320, 860


def svg(lines):
    """Bars for the rows that are rates."""
    rates = [line for line in lines if line.row.unit == "/s" and line.ratio is not None]
    scale = (WIDTH - LEFT - 120) / max([line.ratio for line in rates] + [1])
    height = 60 + len(rates) * (2 * BAR + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        '<text x="16" y="24" font-size="15">Requests a second on the same two cores, '
        'three members each, fsync on</text>',
    ]
    top = 44
    for line in rates:
        parts.append(f'<text x="{LEFT - 8}" y="{top + BAR + 4}" text-anchor="end">'
                     f'{line.row.title}</text>')
        for place, (value, ratio, colour) in enumerate([
                (statistics.median(line.etcd), 1, "#9aa5b1"),
                (statistics.median(line.martlet), line.ratio, "#1f6f8b")]):
            y = top + place * BAR
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{ratio * scale:.1f}" '
                         f'height="{BAR - 1}" fill="{colour}"/>')
            label = f"{value:,.0f}" + (f"  ({ratio:.1f} ×)" if place else "")
            parts.append(f'<text x="{LEFT + ratio * scale + 6:.1f}" y="{y + BAR - 3}">{label}</text>')
        top += 2 * BAR + GAP
    parts.append(f'<text x="{LEFT}" y="{height - 6}" fill="#9aa5b1">etcd 3.5.1</text>'
                 f'<text x="{LEFT + 90}" y="{height - 6}" fill="#1f6f8b">Martlet</text></svg>')
    return "\n".join(parts) + "\n"
