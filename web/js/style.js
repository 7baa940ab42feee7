// Colours are the host's own, so that every theme of the canvas fits.

export const STYLE = `
:host {
  display: block;
  box-sizing: border-box;
  color: var(--input-text, CanvasText);
  font: 11px/1.3 Inter, Arial, sans-serif;
}
.words {
  height: 29px;
  overflow: hidden;
}
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
.cells > [data-state="planned"] { opacity: 0.45; }
.cells > [data-now] { opacity: 1; outline: 2px solid currentColor; outline-offset: 0; }
.cells > [data-changed] { border-style: double; border-width: 3px; }
.cells > [aria-selected="true"] { outline: 2px solid var(--p-primary-color, Highlight); }
.spoken {
  position: absolute;
  width: 1px;
  height: 1px;
  overflow: hidden;
  clip-path: inset(50%);
}
@media (forced-colors: active) {
  .cells > span { forced-color-adjust: none; }
}
`
