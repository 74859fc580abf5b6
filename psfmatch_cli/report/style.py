"""The style of the page: light, dark and printed."""

CSS = """
:root{--bg:#fafaf8;--ink:#1d2126;--quiet:#667080;--line:#d9dce1;--box:#fff;--accent:#2b6cb0;--good:#1a7f4b;
  --doubtful:#b7791f;--bad:#c02626}
@media (prefers-color-scheme:dark){:root{--bg:#14171b;--ink:#e6e8eb;--quiet:#98a2b0;--line:#343b45;
  --box:#1c2127;--accent:#7fb3e6;--good:#3fbf7f;--doubtful:#e0a84a;--bad:#f06a6a}
}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.2rem 1.6rem 3rem;max-width:1500px;background:var(--bg);color:var(--ink);
  font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
h1{font-size:1.5rem;margin:0 0 .2rem;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:2rem 0 .6rem;padding-bottom:.25rem;border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:1.2rem 0 .5rem}
p{margin:.5rem 0;color:var(--quiet);max-width:105ch}
.pair{color:var(--quiet)}
.pair b{font-weight:600;color:var(--ink)}
.quiet{color:var(--quiet);font-weight:400;font-size:.85em}
nav{margin:.8rem 0 0;display:flex;flex-wrap:wrap;gap:.2rem 1rem}
nav a{color:var(--accent);text-decoration:none}
.verdict{margin:.8rem 0;padding:.6rem 1rem;border-left:6px solid var(--quiet);background:var(--box);
  border-radius:0 6px 6px 0}
.verdict strong{font-size:1.4rem;text-transform:uppercase;letter-spacing:.05em}
.verdict ul{margin:.2rem 0 0;padding-left:1.2rem}
.verdict.good{border-color:var(--good)}
.verdict.good strong{color:var(--good)}
.verdict.doubtful{border-color:var(--doubtful)}
.verdict.doubtful strong{color:var(--doubtful)}
.verdict.bad{border-color:var(--bad)}
.verdict.bad strong{color:var(--bad)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(160px,1fr));gap:.6rem;margin:.8rem 0}
.tile{background:var(--box);border:1px solid var(--line);border-radius:8px;padding:.5rem .8rem;display:flex;
  flex-direction:column}
.tile span,.tile small{color:var(--quiet)}
.tile strong{font-size:1.45rem;font-weight:600;font-variant-numeric:tabular-nums}
.warnings{background:var(--box);border:1px solid var(--doubtful);border-radius:8px;padding:.6rem 1rem;margin:.8rem 0}
.warnings ul{margin:.2rem 0 .4rem;padding-left:1.2rem}
figure{margin:0}
figcaption{font-weight:600;margin-bottom:.3rem}
img{display:block;max-width:100%}
.controls{display:flex;flex-wrap:wrap;gap:.4rem;align-items:flex-start;margin:.4rem 0 .7rem}
button{font:inherit;color:var(--ink);background:var(--box);border:1px solid var(--line);border-radius:6px;
  padding:.2rem .7rem;cursor:pointer}
button:hover,button.on{border-color:var(--accent);color:var(--accent)}
.controls details{padding:.2rem .4rem}
summary{cursor:pointer;color:var(--accent)}
dl{display:grid;grid-template-columns:max-content auto;gap:.1rem 1rem;margin:.4rem 0}
dt{font-weight:600}
dd{margin:0;color:var(--quiet)}
.panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(230px,1fr));gap:.7rem}
.panels.one{grid-template-columns:1fr}
.panels.one .panel:not(.shown){display:none}
.panels.one .panel{max-width:min(100%,115vh);width:100%;margin:auto}
.panel figcaption{white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
.view{position:relative;overflow:hidden;background:#60708c;cursor:grab;touch-action:none;border-radius:4px}
.view.drag{cursor:grabbing}
.moved{position:absolute;inset:0;transform-origin:0 0}
.moved img{width:100%;height:100%;user-select:none;pointer-events:none}
.moved.near img,.pixels,.stamp img{image-rendering:pixelated}
.marks{position:absolute;inset:0;width:100%;height:100%;fill:none;pointer-events:none}
.marks circle{stroke-width:1.8px;vector-effect:non-scaling-stroke;fill:none;pointer-events:all}
.nomarks .moved .marks{display:none}
.stamps{display:grid;grid-template-columns:repeat(auto-fill,minmax(205px,1fr));gap:.7rem}
.stamp{background:var(--box);border:1px solid var(--line);border-radius:6px;padding:.4rem}
.stamp img{width:100%;height:auto}
.stamp figcaption{font-weight:400;margin:.25rem 0 0;font-size:.87em;font-variant-numeric:tabular-nums}
i{display:inline-block;width:.75em;height:.75em;border-radius:50%;vertical-align:-.05em}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(360px,1fr));gap:1.4rem;align-items:start}
.charts img{width:100%;height:auto}
figcaption{font-size:.93em}
.chart{display:block;width:100%;height:auto}
.chart text{fill:var(--ink);font-size:12px}
.chart .axis{fill:var(--quiet)}
.chart .on-dark{fill:#fff}
.chart .on-light{fill:#1d2126}
.heat text{text-anchor:middle}
.heat .cell{stroke:var(--line)}
.grid{stroke:var(--line)}
.all{fill:#e08214;fill-opacity:.35;stroke:#e08214}
.sky{fill:#3b82c4;fill-opacity:.45;stroke:#3b82c4}
.gauss{fill:none;stroke:var(--ink);stroke-width:2}
.chart .sky-ink{fill:#3b82c4;stroke:none}
.chart .all-ink{fill:#e08214;stroke:none}
.chart .gauss-ink{fill:var(--ink)}
.scale{display:flex;gap:.5rem;align-items:center;font-size:.85em;color:var(--quiet);margin-top:.3rem}
.bar{flex:1;height:.7em;background:linear-gradient(90deg,#1446aa,#f7f7f7,#b2182b)}
.legend td:nth-child(2){text-align:right}.legend th,.legend td:nth-child(2){white-space:nowrap}
.split{display:flex;flex-wrap:wrap;gap:1.4rem;align-items:flex-start}
.field{position:relative;background:#000;flex:1 1 460px;max-width:760px}
.field img{position:absolute;inset:0;width:100%;height:100%;opacity:.85}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;max-width:100%}
th,td{text-align:left;padding:.2rem .9rem .2rem 0;border-bottom:1px solid var(--line);vertical-align:top;
  overflow-wrap:anywhere}
tbody th{font-weight:500}
thead th{color:var(--quiet);font-weight:500}
.legend{flex:1 1 420px}
.numbers td:last-child{color:var(--quiet)}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--box);border:1px solid var(--line);
  border-radius:6px;padding:.6rem .8rem}
@media print{:root{--bg:#fff;--ink:#000;--quiet:#444;--line:#bbb;--box:#fff}
body{padding:0;max-width:none;font-size:10pt}
nav,.controls{display:none}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
.panels{grid-template-columns:1fr 1fr}
figure,.tile,tr{break-inside:avoid}
h2{break-after:avoid}
}
"""
