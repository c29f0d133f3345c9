"""The one printer of tables: texts as plain text, Markdown, CSV or LaTeX, with a title above and notes below.

Cells may hold any text. It is escaped so that it cannot break the table. A negative number has a minus sign where the
format has one.
"""

import csv
import io
import re

from data.strangers import one_line

FORMATS = ("text", "markdown", "csv", "latex")
SILENT = ("csv",)  # forms without title and notes; the caller prints those elsewhere
_LATEX = {"\\": r"\textbackslash{}", "±": r"$\pm$", "\u2212": "$-$", "~": r"\textasciitilde{}"}
_LATEX |= {"^": r"\textasciicircum{}", **{c: f"${c}$" for c in "<>|"}, **{c: "\\" + c for c in "&%$#_{}"}}
# A number with a sign or an exponent, in a text; not the hyphen of a name, nor the digits of a hash.
_SIGNED = re.compile(r"(?<![\w.])([-+]?)(\d+(?:\.\d*)?|\.\d+)(?:e([-+]\d{2,3}))?(?!\.?\w)")


def render(head, rows, form, title="", notes=(), left=1):
    """The table as text. head: texts; rows: lists of as many texts; the first `left` columns are flushed left.

    title, notes: sentences above and below, in LaTeX as comments; a form in SILENT has none.
    """
    rows = [[_one_line(cell) for cell in line] for line in (head, *rows)]
    notes = [_one_line(note) for note in notes]
    return {"text": _text, "markdown": _markdown, "csv": _csv, "latex": _latex}[form](
        rows[0], rows[1:], _one_line(title), notes, left
    )


def _one_line(text):
    return one_line(" ".join(text.split()) if any(c in text for c in "\r\n\t\v\f") else text)


def _blocks(title, lines, notes):
    return "\n\n".join("\n".join(block) for block in ([title] if title else [], lines, notes) if block)


def _text(head, rows, title, notes, left):
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    sides = [str.ljust] * left + [str.rjust] * (len(head) - left)
    lines = [
        "  ".join(flush(cell, width) for flush, cell, width in zip(sides, row, widths, strict=True)).rstrip()
        for row in [head, *rows]
    ]
    return _blocks(title, lines, notes)


def _markdown(head, rows, title, notes, left):
    rule = ["---"] * left + ["--:"] * (len(head) - left)
    lines = [f"| {' | '.join(line)} |" for line in ([*map(unmarked, head)], rule, *([*map(unmarked, r)] for r in rows))]
    return _blocks(unmarked(title), lines, [line for note in notes for line in (unmarked(note), "")][:-1])


def unmarked(text):
    """A text in Markdown that neither ends a cell nor becomes HTML, a link or an image. Emphasis and `code` stay."""
    text = re.sub(r"&(?=#|\w+;)", "&amp;", one_line(text).replace("\\", "\\\\"))
    return re.sub(r"\](?=[(\[:])", r"\]", text.replace("<", "&lt;").replace("|", "\\|"))


def _csv(head, rows, title, notes, left):
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([[_inert(cell) for cell in line] for line in [head, *rows]])
    return out.getvalue().rstrip("\n")


def _inert(cell):
    """A cell that no spreadsheet takes for a formula: a text that begins like one gets an apostrophe."""
    if cell.lstrip()[:1] not in (*"=+-@＝＋－＠",) or cell == "-":
        return cell
    try:
        float(cell)
    except ValueError:
        return "'" + cell
    return cell


def _latex(head, rows, title, notes, left):
    lines = [" & ".join(_for_latex(cell) for cell in line) + r" \\" for line in [head, *rows]]
    lines = [
        "{}" + line if line.lstrip()[:1] in ("[", "*") else line for line in lines
    ]  # not an argument of the \\ before it
    return "\n".join(
        [
            *(["% " + title] if title else []),
            rf"\begin{{tabular}}{{{'l' * left}{'r' * (len(head) - left)}}}",
            r"\hline",
            lines[0],
            r"\hline",
            *lines[1:],
            r"\hline",
            r"\end{tabular}",
            *("% " + note for note in notes),
        ]
    )


def _for_latex(cell):
    out, at = [], 0
    for match in _SIGNED.finditer(cell):
        sign, digits, exponent = match.groups()
        power = rf" \times 10^{{{int(exponent)}}}" if exponent else ""
        out += [_escaped(cell[at : match.start()])]
        out += [f"${sign}{digits}{power}$" if power else f"${sign}${digits}" if sign else digits]
        at = match.end()
    return "".join([*out, _escaped(cell[at:])])


def _escaped(text):
    return "".join(_LATEX.get(c, c) for c in text.replace(" - ", " \u2212 "))
