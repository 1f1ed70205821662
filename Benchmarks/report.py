"""Medians, spreads and ratios; the targets; JSON, and the comparison with an earlier run."""

import json
import statistics

VERSION = 1
PEER = "envoy"


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def spread(values):
    """Half the range, as a part of the median."""
    middle = median(values)
    return (max(values) - min(values)) / 2 / middle if middle and len(values) > 1 else 0


def summary(results):
    """{test: {column: {figure: median}}}, with the spread of the value."""
    table = {}
    for test, columns in results.items():
        for column, rounds in columns.items():
            figures = {}
            for name in rounds[0]:
                values = [figure[name] for figure in rounds if figure.get(name) is not None]
                if values and isinstance(values[0], (int, float)):
                    figures[name] = median(values)
                elif values:
                    figures[name] = values[-1]
            figures["spread"] = round(spread([figure["value"] for figure in rounds]), 3)
            table.setdefault(test, {})[column] = figures
    return table


# (what, test, figure, how it is compared, at least, beyond); "<" where less is better.
TARGETS = [
    *[(f"throughput, {test}", test, "value", ">", 1.5, 2.0)
      for test in ("1 stream", "8 streams", "1 stream, reverse", "8 streams, reverse")],
    *[(f"CPU per GB, {test}", test, "cpu_per_gb", "<", 0.6, 0.42)
      for test in ("1 stream", "8 streams", "1 stream, reverse", "8 streams, reverse")],
    *[(f"requests, {count} connections", f"HTTP keep-alive, {count} connections", "value", ">", 1.2, 1.3) for count in (16, 64)],
    ("new connection per request", "HTTP, new connection per request", "value", ">", 1.3, 1.45),
    ("connect + echo + close", "connect + echo + close, 16 clients", "value", ">", 1.3, 1.45),
]


def targets(table):
    """(what, figure, ratio or size, at least, beyond, verdict) for each target that was measured."""
    rows = []
    for what, test, figure, sense, least, beyond in TARGETS:
        ours, theirs = (table.get(test, {}).get(column, {}).get(figure) for column in ("culvert", PEER))
        if ours and theirs:
            rows.append((what, f"{ours / theirs:.2f} × {PEER}", ours / theirs, sense, least, beyond))
    pingpong = {column: figures["value"] for column, figures in table.get("ping-pong, 1 connection", {}).items()}
    if {"raw", "culvert", PEER} <= pingpong.keys():
        added = {column: pingpong[column] - pingpong["raw"] for column in ("culvert", PEER)}
        ratio = added["culvert"] / added[PEER]
        rows.append(("ping-pong p50 added over raw", f"{ratio:.2f} × {PEER} ({added['culvert']:.0f} µs)", ratio, "<", 0.8, 0.65))
    memory = table.get("memory", {}).get("culvert")
    if memory:
        rows.append(("RSS fresh, a side", f"{memory['value']:.1f} MiB", memory["value"] * 1.048576, "<", 20, 14))
        each = memory.get("bytes_per_connection_at_9000")
        if each:
            rows.append(("RSS per idle connection, a side", f"{each} B", each, "<", 2048, 1434))
    def verdict(value, sense, least, beyond):
        better = (lambda a, b: a >= b) if sense == ">" else (lambda a, b: a <= b)
        return "beyond" if better(value, beyond) else "reached" if better(value, least) else "MISSED"
    return [(what, text, f"{'≥' if sense == '>' else '≤'} {least}", f"{beyond}", verdict(value, sense, least, beyond))
            for what, text, value, sense, least, beyond in rows]


def rows_of(lines):
    widths = [max(len(str(line[index])) for line in lines) for index in range(len(lines[0]))]
    return "\n".join("  ".join(str(cell).ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def number(value):
    if value is None:
        return "–"
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= 1000 else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def text(table, tests):
    parts = []
    for test in tests:
        columns = table.get(test.name)
        if not columns:
            continue
        figures = sorted({name for figures in columns.values() for name in figures} - {"value", "spread"})
        lines = [[test.name, test.unit, "±", f"× {PEER}", "× raw", *figures]]
        for column, row in columns.items():
            def ratio(to):
                base = columns.get(to, {}).get("value")
                return f"{row['value'] / base:.2f}" if base else "–"
            cells = [row.get(name) for name in figures]
            lines.append([column, number(row["value"]), f"{row['spread']:.0%}", ratio(PEER), ratio("raw"),
                          *[number(cell) if not isinstance(cell, list) else "/".join(map(str, cell)) for cell in cells]])
        parts.append(rows_of(lines))
    reached = targets(table)
    if reached:
        parts.append(rows_of([["TARGET", "MEASURED", "AT LEAST", "BEYOND", ""], *map(list, reached)]))
    return "\n\n".join(parts)


def document(table, options, machine, wire):
    return {"version": VERSION, "machine": machine, "seconds": options.seconds, "rounds": options.rounds, "wire": wire,
            "results": table, "targets": [dict(zip(("what", "measured", "least", "beyond", "verdict"), row)) for row in targets(table)]}


def compare(table, path):
    """Ratios to Envoy now and in the committed result, where they moved by more than a tenth."""
    try:
        with open(path) as file:
            before = json.load(file)
    except FileNotFoundError:
        return f"no earlier result in {path}"
    lines = [["AGAINST THE LAST RESULT", "THEN", "NOW", "CHANGE"]]
    for test, columns in table.items():
        old = before.get("results", {}).get(test, {})
        try:
            then = old["culvert"]["value"] / old[PEER]["value"]
            now = columns["culvert"]["value"] / columns[PEER]["value"]
        except (KeyError, ZeroDivisionError):
            continue
        lines.append([test, f"{then:.2f} × {PEER}", f"{now:.2f} × {PEER}", f"{now / then - 1:+.0%}"])
    return rows_of(lines) if len(lines) > 1 else "nothing to compare with the last result"
