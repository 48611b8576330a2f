// Elements without a framework. Text goes in as text, never as HTML.

type Child = Node | string | null | undefined | false;

/** Makes an element with a class, children and, by name, properties. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className: string,
  children: Child[] = [],
  properties: Partial<HTMLElementTagNameMap[K]> = {},
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (className) element.className = className;
  for (const child of children) if (child) element.append(child);
  return Object.assign(element, properties);
}

/** The element of the page with this id; a page without it is a fault of the build. */
export function byId<T extends HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element as T;
}

/** A button that does something. */
export function button(text: string, className: string, onclick: () => void): HTMLButtonElement {
  return el("button", className, [text], { type: "button", onclick });
}
