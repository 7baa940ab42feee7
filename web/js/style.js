// Colours are the host's own, so that every theme of the canvas fits.

const BASE = `
:host {
  display: block;
  box-sizing: border-box;
  color: var(--input-text, CanvasText);
  font: 11px/1.3 Inter, Arial, sans-serif;
}
:host([hidden]) { display: none; }
.words {
  height: 29px;
  overflow: hidden;
}
.spoken {
  position: absolute;
  width: 1px;
  height: 1px;
  overflow: hidden;
  clip-path: inset(50%);
}
`

export const STYLE = `
${BASE}
.cells {
  display: grid;
  grid-template-columns: repeat(var(--columns, 20), minmax(0, 1fr));
  grid-auto-rows: 13px;
  gap: 2px;
  margin: 0 0 3px;
  padding: 1px;
  border-radius: 3px;
}
.cells:focus-visible { outline: 2px solid currentColor; }
.cells > span {
  box-sizing: border-box;
  max-width: 16px;
  border: 1px solid currentColor;
  border-radius: 2px;
  background: linear-gradient(to top, currentColor var(--filled), transparent var(--filled));
}
.cells > [data-state="planned"] { opacity: 0.55; }
.cells > [data-other] { opacity: 0.35; border-style: dotted; }
.cells > [data-now] { opacity: 1; outline: 2px solid currentColor; outline-offset: 0; }
.cells > [data-changed] { border-style: double; border-width: 3px; }
.cells > [aria-selected="true"] { outline: 2px solid var(--p-primary-color, Highlight); }
.bar {
  height: 3px;
  margin: 0 1px 2px;
  border-radius: 2px;
  overflow: hidden;
  background: color-mix(in srgb, currentColor 20%, transparent);
}
.bar:not([data-shown]) { visibility: hidden; }
.bar > i { display: block; width: 0; height: 100%; background: currentColor; }
.time { height: 15px; overflow: hidden; white-space: nowrap; font-weight: 600; }
@media (forced-colors: active) {
  .cells > span, .bar > i { forced-color-adjust: none; }
}
`

export const TEXT_STYLE = `
${BASE}
.text {
  box-sizing: border-box;
  height: 100%;
  overflow: auto;
  padding: 2px;
  font: 10px/14px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  white-space: pre-wrap;
  overflow-wrap: anywhere;
  user-select: text;
  cursor: text;
}
.text:focus-visible { outline: 2px solid currentColor; outline-offset: -2px; }
`

export const FRONT_STYLE = `
${BASE}
.plot {
  position: relative;
  height: 138px;
  border: 1px solid color-mix(in srgb, currentColor 40%, transparent);
  border-radius: 3px;
  cursor: pointer;
}
.plot:focus-visible { outline: 2px solid currentColor; }
svg { position: absolute; width: 100%; height: 100%; }
polyline {
  fill: none;
  stroke: currentColor;
  stroke-opacity: 0.45;
  vector-effect: non-scaling-stroke;
}
.points > span, .marks > i, .plot b, .speeds > b { position: absolute; translate: -50% -50%; }
b { font-weight: normal; font-size: 9px; opacity: 0.75; }
.plot b { translate: 3px -50%; }
.speeds { position: relative; height: 12px; }
.speeds > b { top: 6px !important; }
.plot b[data-side] { opacity: 0.9; white-space: nowrap; translate: -50% -50%; }
.plot b[data-side="before"] { translate: calc(-100% - 6px) -60%; }
.plot b[data-side="after"] { translate: 7px 20%; }
.plot .better { inset: 3px 5px auto auto; translate: none; opacity: 0.9; }
[data-kind] { box-sizing: border-box; width: 7px; height: 7px; }
[data-kind="middle"] { border-radius: 50%; background: currentColor; }
.marks > [data-kind="spread"] {
  width: 3px;
  min-height: 1px;
  translate: -50% 0;
  background: currentColor;
  opacity: 0.35;
}
[data-kind="fewer"] { background: currentColor; clip-path: polygon(50% 0, 100% 100%, 0 100%); }
.points > [aria-selected="true"] { box-shadow: 0 0 0 2px var(--comfy-input-bg, Canvas), 0 0 0 4px currentColor; }
.points > [data-active] { outline: 2px solid var(--p-primary-color, Highlight); outline-offset: 1px; }
.words { height: 57px; white-space: pre-line; }
@media (forced-colors: active) {
  [data-kind] { forced-color-adjust: none; }
}
`
