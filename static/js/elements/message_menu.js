/** The menu of a message: quick reactions, and what can be done with it. Loaded on demand. */

import { isTouch } from "../util/dom.js";
import { t } from "../util/translate.js";
import { icon } from "./action_parts.js";

/** @typedef {{ name: string, icon: Parameters<typeof icon>[0], run: () => void, isDanger?: boolean, opensMenu?: boolean }} MenuItem */

/**
 * @typedef {object} MenuContents
 * @property {string} label
 * @property {string[]} emoji quick reactions; empty where reacting is impossible
 * @property {string | undefined} mine the user's present reaction
 * @property {(emoji: string) => void} react
 * @property {() => void} [pick] opens the picker of other emoji
 * @property {MenuItem[]} items
 */

const QUICK = ["👍", "❤️", "😂", "😮", "😢", "🙏"];
/** Between the menu and the edges of the window, and the element that opened it. */
const GAP_PX = 8;

/** The quick reactions, with the given ones first if they are others. @param {string[]} present */
export function quickReactions(present) {
  return [...new Set([...QUICK, ...present])];
}

/**
 * Whether the browser's own menu is better: on a link, a failure, and selected text.
 * @param {MouseEvent} event
 */
export function prefersNativeMenu({ target }) {
  const selection = getSelection();
  const isSelected = selection?.isCollapsed === false && target instanceof Node && selection.containsNode(target, true);
  return isSelected || (target instanceof Element && target.closest("a, .failure") !== null);
}

/** One menu at a time. It closes on Escape, Tab, a click elsewhere, scrolling by the user, and resizing. */
export class MessageMenu {
  /** @type {HTMLElement | undefined} */
  #menu;
  /** Returns the focus. @type {() => void} */
  #restoreFocus = () => {};
  /** @type {AbortController} */
  #listening = new AbortController();

  get isOpen() {
    return this.#menu !== undefined;
  }

  /** Whether it offers reactions. */
  get canReact() {
    return (this.#menu?.querySelector(".quick") ?? null) !== null;
  }

  /**
   * @param {MenuContents} contents
   * @param {DOMRect} place the menu opens beside it
   * @param {() => void} restoreFocus called when it closes, unless the chosen item moved the focus
   */
  open(contents, place, restoreFocus) {
    this.close();
    this.#restoreFocus = restoreFocus;
    this.#menu = this.#make(contents);
    document.querySelector("main")?.append(this.#menu);
    // Not an automatic popover: releasing the button or finger that opened it would close it.
    this.#menu.showPopover();
    this.#place(this.#menu, place);
    this.#buttons()[0]?.focus({ preventScroll: true });
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    const close = () => this.close();
    const closeOutside = (/** @type {Event} */ event) => {
      if (!(event.target instanceof Node && this.#menu?.contains(event.target))) this.close();
    };
    // Not on every scroll, since arriving messages scroll too.
    for (const type of ["pointerdown", "wheel"])
      addEventListener(type, closeOutside, { capture: true, passive: true, signal });
    let isHeld = isTouch(); // until the finger of the long press that opened it is lifted
    addEventListener("touchend", () => (isHeld = false), { capture: true, signal });
    addEventListener("scroll", (event) => isHeld && closeOutside(event), { capture: true, signal });
    for (const type of ["resize", "blur", "hashchange"]) addEventListener(type, close, { signal });
  }

  close() {
    const menu = this.#menu;
    if (!menu) return;
    this.#menu = undefined;
    this.#listening.abort();
    const hadFocus = menu.contains(document.activeElement) || document.activeElement === document.body;
    menu.remove();
    if (hadFocus) this.#restoreFocus();
  }

  /** @param {MenuContents} contents */
  #make({ label, emoji, mine, react, pick, items }) {
    const menu = document.createElement("div");
    menu.className = "menu message-menu";
    menu.popover = "manual";
    menu.setAttribute("role", "menu");
    menu.setAttribute("aria-label", label);
    if (emoji.length > 0) {
      const quick = document.createElement("div");
      quick.className = "quick";
      quick.setAttribute("role", "group");
      quick.setAttribute("aria-label", t("react"));
      quick.append(
        ...emoji.map((each) => {
          const button = this.#button("menuitemradio", () => react(each === mine ? "" : each));
          button.setAttribute("aria-checked", String(each === mine));
          button.textContent = each;
          return button;
        }),
      );
      if (pick) {
        const more = this.#button("menuitem", pick);
        more.className = "more";
        more.title = t("emoji_more");
        more.setAttribute("aria-label", more.title);
        more.append(icon("plus"));
        quick.append(more);
      }
      menu.append(quick);
    }
    for (const { name, icon: iconName, run, isDanger, opensMenu } of items) {
      const button = this.#button("menuitem", run);
      button.classList.add("row");
      button.classList.toggle("danger", isDanger === true);
      const text = document.createElement("span");
      text.textContent = name;
      button.append(icon(iconName), text);
      if (opensMenu) {
        button.setAttribute("aria-haspopup", "menu");
        button.append(icon("chevron-right"));
      }
      menu.append(button);
    }
    menu.addEventListener("keydown", (event) => this.#onKey(event));
    menu.addEventListener("contextmenu", (event) => event.preventDefault());
    return menu;
  }

  /**
   * @param {"menuitem" | "menuitemradio"} role
   * @param {() => void} run
   */
  #button(role, run) {
    const button = document.createElement("button");
    button.type = "button";
    button.tabIndex = -1;
    button.setAttribute("role", role);
    button.addEventListener("click", () => {
      this.close();
      run();
    });
    return button;
  }

  /** @returns {HTMLElement[]} */
  #buttons(selector = "button") {
    return [...(this.#menu?.querySelectorAll(selector) ?? [])].filter((each) => each instanceof HTMLElement);
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const focused = /** @type {HTMLElement} */ (event.target);
    const quick = this.#buttons(".quick button");
    const isQuick = quick.includes(focused);
    // The quick reactions are one line of the menu.
    const lines = this.#buttons().filter((each) => each === focused || !quick.includes(each) || each === quick[0]);
    const column = isQuick ? lines.filter((each) => each === focused || !quick.includes(each)) : lines;
    const isForward = (event.key === "ArrowRight") === (getComputedStyle(focused).direction === "ltr");
    /** @type {HTMLElement | undefined} */
    let next;
    if (event.key === "Escape" || event.key === "Tab") this.close();
    else if (event.key === "ArrowDown") next = step(column, focused, 1);
    else if (event.key === "ArrowUp") next = step(column, focused, -1);
    else if (event.key === "Home") next = lines[0];
    else if (event.key === "End") next = lines.at(-1);
    else if (isQuick && /^Arrow(?:Left|Right)$/.test(event.key)) next = step(quick, focused, isForward ? 1 : -1);
    else return;
    event.preventDefault();
    event.stopPropagation(); // Escape would also leave the conversation
    next?.focus();
  }

  /**
   * Beside `place`: below it if there is room, otherwise above. Small touch screens show it at the bottom (CSS).
   * @param {HTMLElement} menu
   * @param {DOMRect} place
   */
  #place(menu, place) {
    const { offsetWidth: width, offsetHeight: height } = menu;
    const x = Math.max(GAP_PX, Math.min(place.left, innerWidth - width - GAP_PX));
    const below = place.bottom + GAP_PX / 2;
    const y = below + height + GAP_PX <= innerHeight ? below : place.top - GAP_PX / 2 - height;
    menu.style.setProperty("--x", `${x}px`);
    menu.style.setProperty("--y", `${Math.max(GAP_PX, Math.min(y, innerHeight - height - GAP_PX))}px`);
  }
}

/**
 * The element `by` places after another one, around the ends.
 * @param {HTMLElement[]} list
 * @param {HTMLElement} from
 * @param {number} by
 */
function step(list, from, by) {
  return list.at((list.indexOf(from) + by) % list.length);
}
