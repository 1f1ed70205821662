"""Medians, spreads and ratios; the targets; JSON, and the comparison with an earlier run."""

import json
import os
import statistics

VERSION = 1
PEER = "envoy"
# Less than this is not called a change, however steady the rounds were.
NOISE = 0.05
# The same where there was one round only, whose spread nobody knows.
NOISE_OF_ONE_ROUND = 0.2


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def spread(values):
    """Half the range, as a part of the median."""
    middle = median(values)
    return (max(values) - min(values)) / 2 / middle if middle and len(values) > 1 else 0


def summary(results):
    """{test: {column: {figure: median}}}, with the spread of each figure that is a number."""
    table = {}
    for test, columns in results.items():
        for column, rounds in columns.items():
            figures, spreads = {}, {}
            for name in rounds[0]:
                values = [figure[name] for figure in rounds if figure.get(name) is not None]
                if values and isinstance(values[0], (int, float)):
                    figures[name] = median(values)
                    spreads[name] = round(spread(values), 3)
                elif values:
                    figures[name] = values[-1]
            figures.update(rounds=len(rounds), spread=spreads)
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


def ratio(columns, column, name, to):
    ours, theirs = (columns.get(each, {}).get(name) for each in (column, to))
    return ours / theirs if ours is not None and theirs else None


def text(table, tests, names, failures):
    failed = {(failure["column"], failure["test"]) for failure in failures}
    parts = []
    for test in tests:
        columns = table.get(test.name, {})
        if not columns and not any((name, test.name) in failed for name in names):
            continue
        figures = []
        for name in sorted({name for figures in columns.values() for name in figures} - {"value", "spread", "rounds"}):
            # What a unit of work costs is compared, too.
            figures += [(name, None), (f"× {PEER}", name)] if name.startswith("cpu_") else [(name, None)]
        lines = [[test.name, test.unit, "±", f"× {PEER}", "× raw", *[title for title, _ in figures]]]
        for column in names:
            row = columns.get(column)
            if row is None:
                lines.append([column, "FAILED" if {(column, test.name), (column, None)} & failed else "n/a", *[""] * (len(lines[0]) - 2)])
                continue
            cells = [row.get(title) if name is None else ratio(columns, column, name, PEER) for title, name in figures]
            lines.append([
                column, number(row["value"]), f"{row['spread']['value']:.0%}" if row["rounds"] > 1 else "–",
                number(ratio(columns, column, "value", PEER)), number(ratio(columns, column, "value", "raw")),
                *["/".join(map(str, cell)) if isinstance(cell, list) else number(cell) for cell in cells]])
        parts.append(rows_of(lines))
    reached = targets(table)
    if reached:
        parts.append(rows_of([["TARGET", "MEASURED", "AT LEAST", "BEYOND", ""], *map(list, reached)]))
    return "\n\n".join(parts)


def document(table, **about):
    """README.md describes it."""
    return {"version": VERSION, **about, "results": table,
            "targets": [dict(zip(("what", "measured", "least", "beyond", "verdict"), row)) for row in targets(table)]}


def compared(test):
    """(figure, whether more is better) of a test that is worth comparing between runs."""
    return [("value", test.higher_is_better), *[(name, False) for name in ("cpu_per_gb", "cpu_per_request_us", "cpu_per_operation_us",
                                                                           "cpu_server_ms", "bytes_per_connection_at_9000")]]


def compare(table, tests, path):
    """What moved since the committed result by more than both runs' rounds differ among themselves.

    Ratios to Envoy, so that another machine or day does not count; sizes of memory as they are.
    """
    try:
        with open(path) as file:
            before = json.load(file)
    except FileNotFoundError:
        return f"no earlier result in {os.path.relpath(path)}"
    if before.get("version") != VERSION:
        return f"{os.path.relpath(path)} is of version {before.get('version')}, not {VERSION}: not compared"
    lines, seen = [["SINCE THE LAST RESULT", "THEN", "NOW", "CHANGE", "NOISE", ""]], 0
    for test in tests:
        old, new = before["results"].get(test.name, {}), table.get(test.name, {})
        absolute = test.name == "memory"
        for name, more in compared(test):
            def of(columns):
                return columns.get("culvert", {}).get(name) if absolute else ratio(columns, "culvert", name, PEER)
            then, now = of(old), of(new)
            if not then or now is None:
                continue
            seen += 1
            rows = [columns[column] for columns in (old, new) for column in (["culvert"] if absolute else ["culvert", PEER])]
            least = NOISE if absolute or all(row["rounds"] > 1 for row in rows) else NOISE_OF_ONE_ROUND
            noise = max(least, sum(row["spread"].get(name, 0) for row in rows))
            change = now / then - 1
            if abs(change) > noise:
                unit = "" if absolute else f" × {PEER}"
                lines.append([f"{test.name}{'' if name == 'value' else ', ' + name}", number(then) + unit, number(now) + unit,
                              f"{change:+.0%}", f"±{noise:.0%}", "better" if (change > 0) == more else "WORSE"])
    if len(lines) == 1:
        return f"since the last result: nothing moved beyond its spread, of {seen} figures compared"
    return rows_of(lines) + f"\n({seen} figures compared; the others are within their spread)"
