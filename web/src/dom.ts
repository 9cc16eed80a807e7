// Small helpers to build elements without a framework.

type Props = Record<string, string | boolean | EventListener>;

/** Makes an element: attributes by name, listeners as `onclick` and the like, children in order. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props: Props = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === 'function') node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, '');
    else if (value !== false) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

const PATHS: Record<string, string> = {
  mic: 'M12 15a3 3 0 0 0 3-3V6a3 3 0 0 0-6 0v6a3 3 0 0 0 3 3Zm6-3a6 6 0 0 1-12 0M12 18v3',
  camera: 'M4 7h9a2 2 0 0 1 2 2v6a2 2 0 0 1-2 2H4a2 2 0 0 1-2-2V9a2 2 0 0 1 2-2Zm11 4 6-3v8l-6-3',
  screen: 'M3 5h18v11H3zM8 20h8M12 16v4m0-12v5m0-5-2 2m2-2 2 2',
  chat: 'M4 5h16v11H9l-5 4z',
  stats: 'M5 19v-6m7 6V5m7 14v-9',
  leave: 'M3 14c5-5 13-5 18 0l-2 3-4-2v-2a12 12 0 0 0-6 0v2l-4 2z',
  send: 'M4 12 20 4l-5 16-3-7z',
  slash: 'M4 4l16 16',
};

/** A line icon; `off` strikes it through. */
export function icon(name: string, off = false): SVGSVGElement {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  for (const path of off ? [PATHS[name], PATHS.slash] : [PATHS[name]]) {
    const shape = document.createElementNS('http://www.w3.org/2000/svg', 'path');
    shape.setAttribute('d', path);
    svg.append(shape);
  }
  return svg;
}

/** Two letters for somebody without a picture. */
export function initials(name: string): string {
  const words = name.trim().split(/\s+/);
  const letters = words.length > 1 ? words[0][0] + words[words.length - 1][0] : name.slice(0, 2);
  return letters.toUpperCase();
}
