"""The script of the page: the panels are zoomed and moved together, shown one at a time, and blink."""

SCRIPT = """
"use strict";
(() => {
  const panels = document.getElementById("panels");
  if (!panels) return;
  const views = [...panels.querySelectorAll(".view")];
  const roles = ["template", "science", "matched", "difference"];
  const state = {scale: 1, x: 0, y: 0};  // x and y in widths and heights of a view
  let timer = null;

  function draw() {
    const most = 1 - state.scale;
    state.x = Math.min(0, Math.max(most, state.x));
    state.y = Math.min(0, Math.max(most, state.y));
    for (const view of views) {
      const moved = view.firstElementChild;
      moved.style.transform =
        `translate(${state.x * view.clientWidth}px,${state.y * view.clientHeight}px) scale(${state.scale})`;
      moved.classList.toggle("near", state.scale > 2);
    }
  }

  function zoom(factor, px, py) {
    const next = Math.min(40, Math.max(1, state.scale * factor));
    state.x = px - (px - state.x) * next / state.scale;
    state.y = py - (py - state.y) * next / state.scale;
    state.scale = next;
    draw();
  }

  function show(role) {
    panels.classList.toggle("one", role !== null);
    for (const panel of panels.children) panel.classList.toggle("shown", panel.dataset.role === role);
    draw();
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    button("blink").classList.remove("on");
  }

  function blink() {
    if (timer) { stop(); return; }
    const turns = roles.slice(1).filter(role => panels.querySelector(`[data-role=${role}]`));
    let turn = 0;
    show(turns[0]);
    timer = setInterval(() => show(turns[++turn % turns.length]), 700);
    button("blink").classList.add("on");
  }

  const button = name => document.querySelector(`[data-do=${name}]`);
  const actions = {
    side() { stop(); show(null); },
    blink,
    marks() { panels.classList.toggle("nomarks"); },
    in() { zoom(1.5, .5, .5); },
    out() { zoom(1 / 1.5, .5, .5); },
    reset() { Object.assign(state, {scale: 1, x: 0, y: 0}); draw(); },
  };
  for (const name of Object.keys(actions)) button(name)?.addEventListener("click", actions[name]);

  const keys = {"0": "side", Escape: "side", b: "blink", m: "marks", "+": "in", "=": "in", "-": "out", r: "reset"};
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const role = roles[Number(key) - 1];
    if (role && panels.querySelector(`[data-role=${role}]`)) { stop(); show(role); }
    else if (keys[key]) actions[keys[key]]();
  });

  for (const view of views) {
    const at = event => {
      const box = view.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    };
    let last = null;
    view.addEventListener("wheel", event => {
      event.preventDefault();
      zoom(Math.exp(-event.deltaY * .0015), ...at(event));
    }, {passive: false});
    view.addEventListener("pointerdown", event => {
      last = at(event);
      view.setPointerCapture(event.pointerId);
      view.classList.add("drag");
    });
    view.addEventListener("pointermove", event => {
      if (!last) return;
      const next = at(event);
      state.x += next[0] - last[0];
      state.y += next[1] - last[1];
      last = next;
      draw();
    });
    for (const end of ["pointerup", "pointercancel"])
      view.addEventListener(end, () => { last = null; view.classList.remove("drag"); });
    view.addEventListener("dblclick", actions.reset);
  }
  addEventListener("resize", draw);
})();
"""
