"""A job's report as one page for a browser: no script, nothing from outside, every word escaped."""

from collections import Counter
from collections.abc import Iterator
from html import escape

from server.fine_tuning.data_report import DataReport, FileSummary
from server.fine_tuning.reports.plots import bars, shares
from server.fine_tuning.schemas import JobReport
from server.fine_tuning.validating.selection_events import selection_events
from trainer.contract.report import FileFigures, Finding, Severity

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_STYLE = """
:root{--ink:#1c2430;--soft:#5b6675;--line:#dfe4ea;--paper:#fff;--bar:#3b6fb6;--error:#b3261e;--warning:#a15c00;--info:#3b6fb6}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#9aa5b4;--line:#323a46;--paper:#14181f;--bar:#6d9ee0;
--error:#ff8a80;--warning:#ffb95c;--info:#8ab4f8}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:960px;margin:0 auto;padding:32px 24px 64px}
h1{font-size:24px;margin:0 0 4px}h2{font-size:18px;margin:40px 0 12px}h3{font-size:14px;margin:0 0 8px;font-weight:600}
p{margin:0 0 8px}.soft{color:var(--soft)}code{font:13px ui-monospace,monospace;overflow-wrap:anywhere}
.finding{border-left:4px solid var(--info);padding:8px 14px;margin:0 0 10px;
background:color-mix(in srgb,var(--info) 6%,transparent)}
.finding.warning{border-color:var(--warning);background:color-mix(in srgb,var(--warning) 7%,transparent)}
.finding.error{border-color:var(--error);background:color-mix(in srgb,var(--error) 8%,transparent)}
.finding b{text-transform:capitalize}.finding p{margin:2px 0}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(420px,100%),1fr));gap:28px}
figure{margin:0}svg{width:100%;height:auto;display:block}svg text{fill:var(--soft);font:11px system-ui,sans-serif}
svg .bar{fill:var(--bar)}svg .axis{stroke:var(--line)}svg .value{fill:var(--ink)}
table{border-collapse:collapse;width:100%}th,td{text-align:right;padding:5px 10px;border-bottom:1px solid var(--line);
font-variant-numeric:tabular-nums}th:first-child,td:first-child{text-align:left;padding-left:0}th{color:var(--soft);font-weight:500}
"""
_FIGURES = (
    ("n_examples", "Examples used"),
    ("n_left_out", "Examples left out"),
    ("n_truncated", "Examples cut at the context"),
    ("n_tokens", "Tokens"),
    ("n_trained_tokens", "Tokens trained on"),
    ("longest_tokens", "Longest example in tokens"),
)


def render(report: JobReport) -> str:
    """The whole page."""
    title = f"Report of {escape(report.fine_tuning_job_id)}"
    body = "".join(_body(report))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>Data report</h1><p class=soft><code>{escape(report.fine_tuning_job_id)}</code></p>"
        f"{body}</main></body></html>"
    )


def _body(report: JobReport) -> Iterator[str]:
    if report.data is None:
        yield "<p>The files have not been looked through.</p>"
    else:
        yield from _data(report.data)
    for name, values in (("Estimate", report.estimate), ("Measured", report.measured)):
        if values:
            yield f"<h2>{name}</h2><table>{''.join(_rows(values))}</table>"


def _data(data: DataReport) -> Iterator[str]:
    words = {Severity.ERROR: "error(s)", Severity.WARNING: "warning(s)", Severity.INFO: "remark(s)"}
    found = Counter(finding.severity for finding in data.findings)
    told = ", ".join(f"{found[severity]} {word}" for severity, word in words.items())
    yield f"<p class=soft>{told}. Policy for personal data and secrets: {escape(data.pii)}.</p><h2>Findings</h2>"
    yield from (_finding(finding) for finding in data.findings)
    if not data.findings:
        yield "<p>Nothing was found.</p>"
    files = [(kind, file) for kind in ("training", "validation") if (file := getattr(data, kind)) is not None]
    if not files:
        return
    yield "<h2>In numbers</h2><table><tr><th></th>"
    yield "".join(f"<th>{kind} file</th>" for kind, _ in files) + "</tr>"
    yield "<tr><td>Format</td>" + "".join(f"<td>{escape(file.format)}</td>" for _, file in files) + "</tr>"
    for name, label in _FIGURES:
        yield f"<tr><td>{label}</td>" + "".join(f"<td>{getattr(file, name):,}</td>" for _, file in files) + "</tr>"
    yield "</table>"
    if data.selection is not None:
        yield "<h2>What was chosen</h2>"
        yield from (f"<p>{escape(event.message)}</p>" for event in selection_events(data.selection))
    for kind, file in files:
        yield from _plots(kind, file)


def _finding(finding: Finding) -> str:
    lines = ", ".join(map(str, finding.lines))
    rest = finding.n_lines - len(finding.lines)
    where = f"<p class=soft>Lines {lines}{f' and {rest:,} more' if rest > 0 else ''}</p>" if lines else ""
    return (
        f'<div class="finding {finding.severity}"><b>{finding.severity}</b> '
        f"<span class=soft>{escape(finding.check.replace('_', ' '))} · {finding.file} file</span>"
        f"<p>{escape(finding.message)}</p>{where}</div>"
    )


def _plots(kind: str, file: FileSummary) -> Iterator[str]:
    figures = file.figures
    if figures is None:
        return
    changed = f" {figures.n_redacted:,} example(s) were redacted." if figures.n_redacted else ""
    yield f"<h2>The {kind} file</h2><p class=soft>By its answers it teaches {escape(figures.task)}.{changed}</p>"
    yield f"<div class=plots>{''.join(_figures(figures))}</div>"


def _figures(figures: FileFigures) -> Iterator[str]:
    for heading, histogram in (
        ("Tokens of an example", figures.tokens),
        ("Tokens of its answers", figures.answer_tokens),
        ("Characters of an example", figures.characters),
    ):
        yield f"<figure><h3>{heading}</h3>{bars(histogram)}</figure>"
    if figures.classes:
        named = [(f"as line {found.first_line:,}", found.n_examples) for found in figures.classes]
        heading = f"Classes, by the line that has each first ({figures.n_classes:,} in all)"
        yield f"<figure><h3>{heading}</h3>{shares(named)}</figure>"


def _rows(values: dict[str, object], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _rows(value, f"{prefix}{name} · ")
        else:
            yield f"<tr><td>{escape(f'{prefix}{name}'.replace('_', ' '))}</td><td>{escape(str(value))}</td></tr>"
