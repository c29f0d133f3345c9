"""A table of texts as text, markdown, CSV or LaTeX."""

import csv
import io

FORMATS = ("text", "markdown", "csv", "latex", "json")  # json is made from the numbers, not from a table
_LATEX = {"\\": r"\textbackslash{}", "±": r"$\pm$", "−": "$-$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_LATEX |= {c: "\\" + c for c in "&%$#_{}"}


def render(head, rows, form, title=""):
    """head: texts, rows: lists of as many texts; the first column is flushed left, the others right."""
    return {"text": _text, "markdown": _markdown, "csv": _csv, "latex": _latex}[form](head, rows, title)


def _text(head, rows, title):
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in [head, *rows]
    ]
    return "\n".join([*([title, ""] if title else []), *lines])


def _markdown(head, rows, title):
    lines = [head, ["---"] + ["--:"] * (len(head) - 1), *rows]
    table = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([*([title, ""] if title else []), *table])


def _csv(head, rows, title):
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([head, *rows])
    return out.getvalue().rstrip("\n")


def _latex(head, rows, title):
    lines = [" & ".join("".join(_LATEX.get(c, c) for c in cell) for cell in line) + r" \\" for line in [head, *rows]]
    return "\n".join(
        [
            *(["% " + title] if title else []),
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            r"\hline",
            lines[0],
            r"\hline",
            *lines[1:],
            r"\hline",
            r"\end{tabular}",
        ]
    )
