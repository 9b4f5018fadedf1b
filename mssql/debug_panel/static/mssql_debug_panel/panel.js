// The SQL Server panel of django-debug-toolbar. Everything works on what the server rendered: no markup is made here.
// The toolbar lives in a shadow root and may be replaced as a whole, so listeners hang on its outermost element.

const attached = new WeakSet();

function toolbar() {
    const root = document.getElementById("djDebugRoot");
    return (root?.shadowRoot ?? root ?? document).querySelector("#djDebug");
}

function loadStyles(djDebug) {
    const source = djDebug.querySelector("[data-mssql-css]");
    if (!source || djDebug.parentNode.querySelector("link[data-mssql-styles]")) {
        return;
    }
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = source.dataset.mssqlCss;
    link.dataset.mssqlStyles = "";
    // A policy that wants nonces gets the one that the toolbar's own style sheet has.
    link.nonce = djDebug.parentNode.querySelector("link[rel=stylesheet]")?.nonce ?? "";
    djDebug.before(link);
}

function attach() {
    const djDebug = toolbar();
    if (!djDebug) {
        return;
    }
    loadStyles(djDebug);
    if (attached.has(djDebug)) {
        return;
    }
    attached.add(djDebug);
    djDebug.addEventListener("djdt.panel.render", attach);
    for (const [name, handlers] of Object.entries(HANDLERS)) {
        djDebug.addEventListener(name, (event) => {
            for (const [selector, handle] of handlers) {
                const element = event.target.closest?.(selector);
                if (element && djDebug.contains(element)) {
                    handle(element, event, djDebug);
                }
            }
        });
    }
}

// --- the list ---------------------------------------------------------------------------------------------------

const SORTS = {
    order: (item) => Number(item.dataset.order),
    duration: (item) => -Number(item.dataset.duration),
    rows: (item) => -Number(item.dataset.rows),
    group: (item) => Number(item.dataset.group) || Number.MAX_SAFE_INTEGER,
};

function sort(select) {
    const list = select.closest("[data-mssql-panel]").querySelector("[data-mssql-list]");
    const key = SORTS[select.value];
    const items = [...list.children].sort(
        (one, other) => key(one) - key(other) || SORTS.order(one) - SORTS.order(other)
    );
    list.classList.toggle("mp-sorted", select.value !== "order");
    list.append(...items);
}

function filter(panel) {
    const text = panel.querySelector("[data-mssql-filter]").value.trim().toLowerCase();
    const only = panel.querySelector("[data-mssql-only][aria-pressed=true]")?.dataset.mssqlOnly;
    const items = [...panel.querySelectorAll("[data-mssql-statement]")];
    let shown = 0;
    for (const item of items) {
        const matches =
            (!text || item.textContent.toLowerCase().includes(text)) && (!only || item.dataset.group === only);
        item.hidden = !matches;
        shown += matches;
    }
    panel.querySelector("[data-mssql-count]").textContent =
        shown === items.length ? "" : `${shown} of ${items.length} shown`;
}

function showOnly(button) {
    const panel = button.closest("[data-mssql-panel]");
    const pressed = button.getAttribute("aria-pressed") !== "true";
    for (const other of panel.querySelectorAll("[data-mssql-only]")) {
        other.setAttribute("aria-pressed", String(pressed && other === button));
    }
    filter(panel);
}

function jump(button) {
    const panel = button.closest("[data-mssql-panel]");
    const item = panel.querySelector(`[data-mssql-statement="${CSS.escape(button.dataset.mssqlJump)}"]`);
    item.hidden = false;
    const details = item.querySelector("details");
    details.open = true;
    details.querySelector("summary").focus();
    item.scrollIntoView({ block: "center" });
}

// --- the plan ---------------------------------------------------------------------------------------------------

let questions = 0;

async function openWindow(form, event, djDebug) {
    event.preventDefault();
    const button = form.querySelector("button");
    if (button.disabled) {
        return;
    }
    button.disabled = true;
    form.setAttribute("aria-busy", "true");
    const question = ++questions;
    const shown = djDebug.querySelector("#djDebugWindow");
    let open;
    try {
        const response = await fetch(form.action, {
            method: "POST",
            body: new FormData(form),
            credentials: "same-origin",
            headers: { Accept: "application/json" },
        });
        if (!response.ok) {
            throw new Error(await refusal(response));
        }
        const { content } = await response.json();
        open = () => {
            shown.innerHTML = content;
        };
    } catch (error) {
        open = () => shown.replaceChildren(failure(error.message));
    } finally {
        button.disabled = false;
        form.removeAttribute("aria-busy");
    }
    // The answer to a later click may have come before.
    if (question !== questions) {
        return;
    }
    open();
    shown.classList.remove("djdt-hidden");
    loadStyles(djDebug);
    (shown.querySelector(".mp-tab") ?? shown.querySelector(".djDebugClose"))?.focus();
    const canvas = shown.querySelector("[data-mssql-canvas]");
    if (canvas) {
        begin(canvas);
    }
}

// The panel refuses in one sentence; anything else that goes wrong answers with a page of its own.
async function refusal(response) {
    const reason = response.status === 400 ? await response.text() : "";
    return reason || `${response.status} ${response.statusText}`;
}

function failure(message) {
    const title = document.createElement("div");
    title.className = "djDebugPanelTitle";
    const heading = document.createElement("h3");
    heading.textContent = message;
    const close = document.createElement("button");
    close.type = "button";
    close.className = "djDebugClose";
    close.textContent = "×";
    title.append(heading, close);
    return title;
}

function zoom(canvas, how) {
    const svg = canvas.querySelector("svg");
    const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
    const now = Number(svg.getAttribute("width")) / width;
    const fit = Math.min(1, (canvas.clientWidth - 4) / width);
    // At first a card has to be readable: below this it is better to scroll.
    const factor = { in: now * 1.25, out: now / 1.25, full: 1, fit, first: Math.max(0.75, fit) }[how];
    const bounded = Math.min(3, Math.max(0.1, factor));
    svg.setAttribute("width", width * bounded);
    svg.setAttribute("height", height * bounded);
}

// A plan opens with the operator that takes most.
function begin(canvas) {
    const share = (operator) => parseFloat(operator?.querySelector(".sp-share").textContent) || 0;
    const operators = [...canvas.querySelectorAll("[data-mssql-operator]")];
    const greatest = operators.reduce((one, other) => (share(other) > share(one) ? other : one), operators[0]);
    zoom(canvas, "first");
    if (greatest) {
        choose(greatest);
        bringIntoView(greatest, canvas);
    }
}

// Within the canvas alone: scrollIntoView would move the page as well.
function bringIntoView(operator, canvas) {
    const card = operator.getBoundingClientRect();
    const frame = canvas.getBoundingClientRect();
    if (card.right > frame.right) {
        canvas.scrollLeft += card.left + card.width / 2 - frame.left - frame.width / 2;
    }
    if (card.bottom > frame.bottom) {
        canvas.scrollTop += card.top + card.height / 2 - frame.top - frame.height / 2;
    }
}

function choose(operator) {
    const view = operator.closest("[data-mssql-plan-view]");
    const aside = view?.querySelector("[data-mssql-aside]");
    const details = view?.querySelector(`[data-mssql-details="${operator.dataset.mssqlOperator}"]`);
    if (!aside || !details) {
        return;
    }
    for (const other of view.querySelectorAll("[data-mssql-operator][aria-pressed]")) {
        other.removeAttribute("aria-pressed");
    }
    operator.setAttribute("aria-pressed", "true");
    aside.replaceChildren(details.querySelector(".mp-operator-facts").cloneNode(true));
    aside.scrollTop = 0;
}

function goTo(button) {
    const view = button.closest("[data-mssql-plan-view]");
    view.querySelector("#mp-tab-plan").checked = true;
    // Of a very large plan not every operator is drawn.
    const operator = view.querySelector(`[data-mssql-operator="${button.dataset.mssqlGoto}"]`);
    if (operator) {
        operator.scrollIntoView({ block: "center", inline: "center" });
        operator.focus();
        choose(operator);
    }
}

function find(input) {
    const text = input.value.trim().toLowerCase();
    const view = input.closest("[data-mssql-plan-view]");
    let first = null;
    for (const operator of view.querySelectorAll("[data-mssql-operator]")) {
        const matches = text !== "" && operator.textContent.toLowerCase().includes(text);
        operator.classList.toggle("sp-found", matches);
        first ??= matches ? operator : null;
    }
    first?.scrollIntoView({ block: "center", inline: "center" });
}

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

function moveOrChoose(operator, event) {
    if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        choose(operator);
    } else if (event.key in STEPS) {
        event.preventDefault();
        const all = [...operator.ownerSVGElement.querySelectorAll("[data-mssql-operator]")];
        const next = all[all.indexOf(operator) + STEPS[event.key]];
        next?.focus();
        next?.scrollIntoView({ block: "nearest", inline: "nearest" });
        if (next) {
            choose(next);
        }
    }
}

function drag(canvas, event) {
    if (event.button !== 0 || event.target.closest("[data-mssql-operator]")) {
        return;
    }
    const start = { x: event.clientX, y: event.clientY, left: canvas.scrollLeft, top: canvas.scrollTop };
    const move = (to) => {
        canvas.scrollLeft = start.left - (to.clientX - start.x);
        canvas.scrollTop = start.top - (to.clientY - start.y);
    };
    const held = new AbortController();
    const end = () => {
        canvas.classList.remove("mp-dragged");
        held.abort();
    };
    canvas.classList.add("mp-dragged");
    window.addEventListener("pointermove", move, { signal: held.signal });
    window.addEventListener("pointerup", end, { signal: held.signal });
    // The browser takes a touch over when it scrolls by itself.
    window.addEventListener("pointercancel", end, { signal: held.signal });
}

async function copy(button) {
    const source = button.parentElement.querySelector("pre");
    // At a second click the button may still say what became of the first.
    button.dataset.label ??= button.textContent;
    try {
        await navigator.clipboard.writeText(source.textContent);
        button.textContent = "Copied";
    } catch {
        // Without a secure context there is no clipboard: select the text, so that one key copies it.
        getSelection().selectAllChildren(source);
        button.textContent = "Selected";
    }
    setTimeout(() => {
        button.textContent = button.dataset.label;
    }, 1500);
}

function switchActualPlans(box) {
    globalThis.djdt?.cookie.set(box.dataset.mssqlActual, box.checked ? "on" : "off", { path: "/", expires: 10 });
}

const HANDLERS = {
    submit: [["form[data-mssql-plan], form[data-mssql-window]", openWindow]],
    change: [
        ["[data-mssql-sort]", sort],
        ["[data-mssql-actual]", switchActualPlans],
    ],
    input: [
        ["[data-mssql-filter]", (input) => filter(input.closest("[data-mssql-panel]"))],
        ["[data-mssql-find]", find],
    ],
    click: [
        ["[data-mssql-only]", showOnly],
        ["[data-mssql-jump]", jump],
        ["[data-mssql-copy]", copy],
        ["[data-mssql-goto]", goTo],
        ["[data-mssql-operator]", choose],
        [
            "[data-mssql-zoom]",
            (button) =>
                zoom(
                    button.closest("[data-mssql-plan-view]").querySelector("[data-mssql-canvas]"),
                    button.dataset.mssqlZoom
                ),
        ],
    ],
    keydown: [["[data-mssql-operator]", moveOrChoose]],
    pointerdown: [["[data-mssql-canvas]", drag]],
};

attach();
// The toolbar may be replaced without this module being loaded anew: the next click attaches to the new one.
document.addEventListener("click", attach, { capture: true });
