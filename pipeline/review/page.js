"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("document").textContent);
  const isServed = location.protocol === "http:";
  const words = {
    accept: "accepted", reject: "rejected", correct: "to correct",
    stale: "changed since it was looked at", "not-reviewed": "not looked at yet",
  };
  const memory = `curate-review-${data.key}-${data.task}`;
  const state = { at: 0, outlines: true, close: false, picture: -1, asked: "", decisions: new Map(), unsaved: new Set(), drafts: new Map() };

  const current = () => data.cases[state.at];
  const said = (each) => state.decisions.get(each.case);
  const stands = (each) => (said(each) ? said(each).decision : each.standing);
  const isOpen = (each) => stands(each) === "not-reviewed" || stands(each) === "stale";
  const initials = () => $("initials").value.trim().toUpperCase();

  function element(name, text, marks = {}) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    for (const [key, value] of Object.entries(marks)) made.setAttribute(key, value);
    return made;
  }

  function tell(text) { $("message").textContent = text; }

  // What was said survives a reload of this tab and nothing else: comments may name persons.
  function remember() {
    try {
      const kept = { decisions: [...state.decisions.values()], unsaved: [...state.unsaved], initials: initials() };
      sessionStorage.setItem(memory, JSON.stringify(kept));
    } catch { /* without storage, leaving the page is warned of */ }
  }

  function recall() {
    let kept = null;
    try { kept = JSON.parse(sessionStorage.getItem(memory)); } catch { return; }
    if (!kept) return;
    $("initials").value = kept.initials;
    const shown = new Map(data.cases.map((each) => [each.case, JSON.stringify(each.seen)]));
    for (const each of kept.decisions) {
      if (shown.get(each.case) !== JSON.stringify(each.seen)) continue;
      state.decisions.set(each.case, each);
      if (kept.unsaved.includes(each.case)) state.unsaved.add(each.case);
    }
  }

  // Drawing

  function swatch(colour) {
    const space = "http://www.w3.org/2000/svg";
    const drawn = document.createElementNS(space, "svg");
    const dot = document.createElementNS(space, "rect");
    for (const [key, value] of [["width", "100%"], ["height", "100%"], ["fill", `rgb(${colour.join(" ")})`]])
      dot.setAttribute(key, value);
    drawn.append(dot);
    return drawn;
  }

  function median(numbers) {
    const sorted = [...numbers].sort((a, b) => a - b);
    const middle = sorted.length >> 1;
    return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  }

  const round = (ml) => (ml >= 100 ? ml.toFixed(0) : ml >= 1 ? ml.toFixed(1) : ml.toPrecision(2));
  const volumes = (value) => data.cases.map((each) => Number(each.classes[value]?.ml ?? 0)).filter((ml) => ml > 0);
  const medians = new Map(data.classes.map(({ value }) => [value, volumes(value)]).map(([v, all]) => [v, all.length ? median(all) : 0]));

  function showClasses(each) {
    const rows = data.classes.map(({ value, name, colour }) => {
      const row = element("tr"), first = element("td", undefined);
      first.append(swatch(colour), name);
      const found = each.classes[value], usual = medians.get(value);
      const ml = Number(found?.ml ?? 0);
      const isOdd = found && usual > 0 && (ml === 0 || ml > 3 * usual || ml < usual / 3);
      row.append(first, element("td", found ? round(ml) : "\u2013", isOdd ? { class: "odd", title: "far from the task's median" } : {}));
      row.append(element("td", usual ? round(usual) : "\u2013"));
      return row;
    });
    $("classes").replaceChildren(...rows);
  }

  function source(each) {
    const pictures = Object.values(each.pictures);
    if (state.picture >= 0 && pictures.length) return pictures[state.picture % pictures.length];
    const view = state.close ? "close" : "whole", style = state.outlines ? "outlined" : "plain";
    return each.sheets[`${view}-${style}`] ?? each.sheets["whole-plain"];
  }

  function show() {
    const each = current();
    if (!each) return;
    $("sheet").src = source(each);
    $("sheet").alt = `Contact sheet of ${each.case}`;
    $("case").textContent = each.case;
    $("facts").textContent =
      `${each.subset} \u00b7 ${each.shape.join(" \u00d7 ")} voxels \u00b7 ${each.spacing.join(" \u00d7 ")} mm`;
    $("warnings").replaceChildren(...each.warnings.map((text) => element("li", text)));
    showClasses(each);
    const reason = said(each)?.reason ?? each.said?.reason;
    $("standing").textContent = words[stands(each)] + (reason && !isOpen(each) ? `: ${reason}` : "") +
      (state.unsaved.has(each.case) ? " (not saved)" : "");
    $("standing").dataset.state = stands(each);
    $("comment").value = said(each)?.comment ?? state.drafts.get(each.case) ?? "";
    $("outlines").setAttribute("aria-pressed", String(state.outlines));
    $("close").setAttribute("aria-pressed", String(state.close));
    $("picture").hidden = Object.keys(each.pictures).length === 0;
    const after = data.cases[state.at + 1];
    if (after) new Image().src = source(after);
    showReasons();
  }

  const items = data.cases.map((each, place) => {
    const item = element("li"), button = element("button", each.case);
    button.addEventListener("click", () => go(place));
    item.append(button);
    return item;
  });

  function showList() {
    const wanted = $("filter").value;
    data.cases.forEach((each, place) => {
      const button = items[place].firstChild, how = stands(each);
      button.dataset.state = how;
      button.classList.toggle("unsaved", state.unsaved.has(each.case));
      button.classList.toggle("warned", each.warnings.length > 0);
      if (place === state.at) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
      items[place].hidden = place !== state.at && !(wanted === "all" || (wanted === "open" && isOpen(each)) ||
        wanted === how || (wanted === "out" && (how === "reject" || how === "correct")));
    });
    items[state.at]?.scrollIntoView({ block: "nearest" });
    const looked = data.cases.filter((each) => !isOpen(each)).length;
    $("progress").max = data.cases.length || 1;
    $("progress").value = looked;
    $("counts").textContent = `${looked} of ${data.cases.length}` +
      (state.unsaved.size ? `, ${state.unsaved.size} not saved` : "");
  }

  function showReasons() {
    const codes = Object.entries(data.reasons[state.asked] ?? {});
    $("reasons").hidden = codes.length === 0;
    $("reasons").replaceChildren(...codes.map(([code, meaning], place) => {
      const item = element("li"), button = element("button", ` ${meaning}`, { "data-reason": code });
      button.prepend(element("kbd", String(place + 1)));
      button.addEventListener("click", () => decide(state.asked, code));
      item.append(button);
      return item;
    }));
  }

  function draw() { show(); showList(); }

  // Walking

  function go(place) {
    if (place < 0 || place >= data.cases.length) return;
    keepComment();
    Object.assign(state, { at: place, asked: "", picture: -1 });
    draw();
  }

  function goToOpen() {
    const order = data.cases.map((_, step) => (state.at + 1 + step) % data.cases.length);
    const place = order.find((each) => isOpen(data.cases[each]));
    if (place === undefined) tell(isServed ? "Every case has been looked at." : "Every case has been looked at. Save with S.");
    else go(place);
  }

  // Deciding

  function ask(decision) {
    state.asked = state.asked === decision ? "" : decision;
    showReasons();
  }

  function decide(decision, reason) {
    if (!/^[A-Z]{2,8}$/.test(initials())) {
      tell("Who looks? Give your initials first: two to eight letters.");
      $("initials").focus();
      return;
    }
    const each = current();
    const comment = $("comment").value.trim();
    state.decisions.set(each.case, { case: each.case, seen: each.seen, decision, reason, comment, reviewer: initials() });
    state.unsaved.add(each.case);
    state.asked = "";
    tell("");
    remember();
    if (isServed) send([each.case]);
    if (state.at + 1 < data.cases.length) go(state.at + 1);
    else { draw(); goToOpen(); }
  }

  function keepComment() {
    const each = current(), made = each && said(each), comment = $("comment").value.trim();
    if (each && !made) state.drafts.set(each.case, comment);
    if (!made || made.comment === comment) return;
    state.decisions.set(each.case, { ...made, comment });
    state.unsaved.add(each.case);
    remember();
    if (isServed) send([each.case]);
  }

  function takeBack() {
    const each = current();
    if (!state.unsaved.delete(each.case)) { tell("There is nothing here that was not saved; decide anew."); return; }
    state.decisions.delete(each.case);
    remember();
    draw();
  }

  // Saving

  const written = (cases) => JSON.stringify({
    decisions: cases.map((name) => state.decisions.get(name)), format: data.format, key: data.key, task: data.task,
  });

  function save() {
    keepComment();
    const cases = data.cases.map((each) => each.case).filter((name) => state.unsaved.has(name));
    if (!cases.length) { tell("Nothing to save."); return; }
    if (isServed) { send(cases); return; }
    const link = element("a", undefined, { download: `${data.task}-${initials()}.decisions.json` });
    link.href = URL.createObjectURL(new Blob([written(cases)], { type: "application/json" }));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    settled(cases, cases.map((name) => state.decisions.get(name)));
    tell(`Saved ${cases.length} decisions. Next: curate review apply ${link.download} -w WORKSPACE`);
  }

  function settled(cases, sent) {
    // What was decided anew while it was on its way is still to be saved.
    cases.forEach((name, place) => { if (state.decisions.get(name) === sent[place]) state.unsaved.delete(name); });
    remember();
    draw();
  }

  async function send(cases) {
    const sent = cases.map((name) => state.decisions.get(name));
    try {
      const answer = await fetch("../decisions", {
        method: "POST", body: written(cases), headers: { "Content-Type": "application/json" },
      });
      if (!answer.ok) throw new Error((await answer.json()).error);
      settled(cases, sent);
    } catch (fault) {
      tell(`Not saved: ${fault.message}. S tries again.`);
      showList();
    }
  }

  // Keys and buttons

  const deeds = {
    a: () => decide("accept", "fit"), A: () => decide("accept", "usable"),
    r: () => ask("reject"), c: () => ask("correct"), u: takeBack,
    j: () => go(state.at + 1), ArrowRight: () => go(state.at + 1), ArrowDown: () => go(state.at + 1),
    k: () => go(state.at - 1), ArrowLeft: () => go(state.at - 1), ArrowUp: () => go(state.at - 1),
    n: goToOpen,
    o: () => { state.outlines = !state.outlines; state.picture = -1; show(); },
    z: () => { state.close = !state.close; state.picture = -1; show(); },
    p: () => {
      const count = Object.keys(current().pictures).length;
      state.picture = state.picture + 1 < count ? state.picture + 1 : -1;
      show();
    },
    m: () => $("comment").focus(), i: () => { $("initials").focus(); $("initials").select(); },
    s: save, "?": () => $("keys").showModal(),
    Escape: () => { state.asked = ""; showReasons(); },
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
    if (event.target.matches("input, textarea, select")) {
      if (event.key === "Escape" || (event.key === "Enter" && event.target.id === "initials")) event.target.blur();
      return;
    }
    const codes = Object.keys(data.reasons[state.asked] ?? {});
    const code = /^[1-9]$/.test(event.key) ? codes[Number(event.key) - 1] : undefined;
    if (!data.cases.length && event.key !== "?") return;
    const deed = code ? () => decide(state.asked, code) : deeds[event.key] ?? deeds[event.key.toLowerCase()];
    if (!deed) return;
    event.preventDefault();
    deed();
  });
  const buttons = { accept: "a", reject: "r", correct: "c", outlines: "o", close: "z", picture: "p", save: "s", help: "?" };
  for (const [id, key] of Object.entries(buttons))
    $(id).addEventListener("click", () => { if (data.cases.length || id === "help") deeds[key](); if (id !== "help") $(id).blur(); });
  $("comment").addEventListener("change", () => { keepComment(); draw(); });
  $("initials").addEventListener("change", remember);
  $("filter").addEventListener("change", () => { showList(); $("filter").blur(); });
  window.addEventListener("beforeunload", (event) => { if (state.unsaved.size) event.preventDefault(); });
  $("sheet").addEventListener("error", () => tell("The picture of this case cannot be read; run curate review again."));

  $("task").textContent = data.task;
  $("description").textContent = data.description;
  $("list").append(...items);
  recall();
  if (!data.cases.length) tell("No case is finished yet: run curate build, then curate review.");
  state.at = Math.max(data.cases.findIndex(isOpen), 0);
  draw();
})();
