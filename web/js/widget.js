// Puts something of the pack's own onto a node, as a widget without a value.
import { app } from "../../../scripts/app.js"

// Panels come from two entries, in the order in which the browser happens to load these: the text is the last.
const LAST = "frdiff_text"

/** Add what has an `element` and a `height` to a node; what `grows` takes the room of a node that was made taller. */
export function addWidget(node, name, type, shown, grows = false) {
  shown.onwheel = (event) => app.canvas.canvas.dispatchEvent(event)
  const widget = node.addDOMWidget(name, type, shown.element, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => shown.height,
    ...(grows ? {} : { getMaxHeight: () => shown.height }),
    getValue: () => "",
    setValue: () => {}
  })
  // Not in the saved workflow either: it holds no value.
  widget.serialize = false
  const last = node.widgets.findIndex((one) => one.name === LAST)
  if (last >= 0) node.widgets.push(...node.widgets.splice(last, 1))
  return widget
}

/** What is shown needs a larger node; a node that the user made larger stays so. */
export function fit(node, shown) {
  // Where nodes are drawn as elements, they ask the panel itself.
  shown.element.style.minHeight = `${shown.height}px`
  const [width, least] = node.computeSize()
  node.setSize([Math.max(node.size[0], width, shown.width), Math.max(node.size[1], least)])
  node.setDirtyCanvas(true, true)
}

/** Zooming goes on over a panel: the canvas hears nothing of events on widgets. */
export function passWheelOn(panel) {
  panel.element.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault()
      event.stopPropagation()
      panel.onwheel?.(new WheelEvent(event.type, event))
    },
    { passive: false }
  )
}
