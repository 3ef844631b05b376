"""The page around a report: style, script, frame. Nothing is loaded from elsewhere."""

from __future__ import annotations

INK, MUTED, GRID = "#010101", "#020202", "#030303"
ACCENT, SECOND, WARN = "#040404", "#050505", "#060606"
"""Colours that plots are drawn with; the page's style sets them for light and for dark."""

VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    ACCENT: "--accent",
    SECOND: "--second",
    WARN: "--warn",
}

STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --surface: #ffffff; --ink: #1b2430;
  --muted: #5d6b7a; --grid: #dfe4ea; --accent: #2563c9; --second: #0e9384; --warn: #d4502a; }
@media (prefers-color-scheme: dark) { :root { --page: #12161c; --surface: #1b2129; --ink: #e6ebf1;
  --muted: #97a5b4; --grid: #323b46; --accent: #6ea8ff; --second: #3fcfb9; --warn: #ff8a5c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; margin: 0; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 0 0 2px; }
.sub, .note { color: var(--muted); margin: 2px 0 12px; max-width: 78ch; }
.tiles { display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fit, minmax(min(200px, 44%), 1fr)); margin: 20px 0 12px; }
.tile, section { background: var(--surface); border: 1px solid var(--grid); border-radius: 10px; }
.tile { padding: 14px 16px; }
.tile .label { color: var(--muted); font-size: 13px; }
.tile .value { font-size: 25px; font-weight: 650; font-variant-numeric: tabular-nums;
  overflow-wrap: anywhere; line-height: 1.3; }
.tile .detail { color: var(--muted); font-size: 13px; overflow-wrap: anywhere; }
section { padding: 18px 20px; margin-top: 14px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(440px, 1fr)); gap: 14px;
  margin-top: 14px; align-items: start; }
.pair section { margin: 0; }
svg { width: 100%; height: auto; display: block; }
svg text { font-family: inherit !important; }
.histograms { display: grid; grid-template-columns: repeat(auto-fill, minmax(245px, 1fr));
  gap: 14px; }
.histograms figure { margin: 0; }
figcaption { font-size: 13px; overflow-wrap: anywhere; }
figcaption b { font-weight: 600; } figcaption span { color: var(--muted); }
details summary { cursor: pointer; color: var(--accent); margin: 12px 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; white-space: nowrap; }
table.plain { margin-top: 14px; white-space: normal; }
th, td { padding: 5px 8px; border-bottom: 1px solid var(--grid); text-align: left; }
th.number, td.number { text-align: right; font-variant-numeric: tabular-nums; }
th button { all: unset; cursor: pointer; font-weight: 600; color: var(--muted); }
th button:hover, th button:focus-visible { color: var(--accent); text-decoration: underline; }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
tbody tr:hover { background: color-mix(in srgb, var(--accent) 9%, transparent); }
td[style] { background: linear-gradient(to left,
  color-mix(in srgb, var(--accent) 24%, transparent) var(--share), transparent var(--share)); }
td.name { white-space: normal; overflow-wrap: anywhere; min-width: min(270px, 48vw);
  max-width: 44ch; }
.search { position: sticky; top: 0; z-index: 1; margin: 14px 0 0; padding: 6px 0;
  background: var(--page); }
.search input { font: inherit; color: inherit; background: var(--surface);
  border: 1px solid var(--grid); border-radius: 8px; padding: 7px 12px; width: min(100%, 420px); }
.search span { color: var(--muted); font-size: 13px; }
.poor { color: var(--warn); font-weight: 600; }
@media (max-width: 560px) { .pair { grid-template-columns: 1fr; } main { padding: 16px 10px; } }
"""

SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  table.tHead.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const head = button.closest("th");
    const column = head.cellIndex;
    const rising = head.getAttribute("aria-sort") !== "ascending";
    const key = (row) => row.cells[column].dataset.value;
    const numeric = head.classList.contains("number");
    const compare = numeric
      ? (a, b) => (key(a) === "" ? Infinity : +key(a)) - (key(b) === "" ? Infinity : +key(b)) || 0
      : (a, b) => key(a).localeCompare(key(b), undefined, { numeric: true });
    const rows = [...body.rows].sort(compare);
    body.append(...(rising ? rows : rows.reverse()));
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
  });
}
const search = document.querySelector(".search input");
search?.addEventListener("input", () => {
  const words = search.value.toLowerCase().split(/\\s+/).filter(Boolean);
  const rows = [...document.querySelectorAll("table.searchable tbody tr")];
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
  }
  const left = rows.filter((row) => !row.hidden).length;
  document.querySelector(".search span").textContent =
    words.length ? `${left} of ${rows.length} rows` : "";
});
"""


def page(title: str, body: str) -> str:
    """The HTML page; ``title`` and ``body`` are HTML already."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n"
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )
