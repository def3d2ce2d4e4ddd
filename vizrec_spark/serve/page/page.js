// The storefront. All that comes from the tables is set as text, never as markup.
const byId = id => document.getElementById(id);
const LONGEST_SESSION = 50;
const STRIP = 20;
const PAGE = 24;
const FOLLOW_MS = 3000; // how often the list is asked for again, and at most when the shop cannot be reached
const FOLLOW_MOST_MS = 60_000;
const SHOPPERS_EVERY = 5; // turns

let key = sessionStorage.getItem("vizrec-key") ?? "";
let viewed = []; // ids of the items looked at, the latest last
let offset = 0;
let open = null; // id of the product that is shown
let seen = {}; // path and tag of the list that is shown, or that the session's list was made from
const troubles = new Map(); // what went wrong, by part of the page, the latest last
let asked = {}; // number of the latest request by part of the page: an older answer that comes late is dropped

class Trouble extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

async function call(path, options = {}) {
  const headers = { ...options.headers, ...(key && { "X-API-Key": key }) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new Trouble(0, "unreachable", "The shop cannot be reached. Is the service running?");
  }
  if (response.ok || response.status === 304) return response;
  const fault = (await response.json().catch(() => null))?.error;
  throw new Trouble(response.status, fault?.code, fault?.message ?? `The shop answered ${response.status}.`);
}

// The connection may be cut while the answer comes.
const body = response =>
  response.json().catch(() => {
    throw new Trouble(0, "cut", "The shop's answer did not come whole. Is the service running?");
  });

const json = async (path, options) => body(await call(path, options));
const query = values => new URLSearchParams(values).toString();

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

const initials = title =>
  title.split(/\s+/).filter(Boolean).slice(0, 2).map(word => [...word][0].toUpperCase()).join("");

const money = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const price = item => (item.price === null ? "" : money.format(item.price));

function withoutPicture(frame, item, told) {
  frame.classList.add("none");
  const letters = make("b", "", initials(item.title));
  letters.setAttribute("aria-hidden", "true");
  frame.replaceChildren(letters, make("span", "", told));
}

function picture(item, size) {
  const frame = make("span", "pic");
  if (item.picture === null) {
    withoutPicture(frame, item, "No picture");
    return frame;
  }
  const image = make("img");
  image.alt = ""; // the title stands beside it
  image.width = image.height = size;
  image.decoding = "async";
  image.addEventListener("error", () => withoutPicture(frame, item, "Picture cannot be shown"));
  const path = `/v1/picture?${query({ item_id: item.item_id, size })}`;
  if (key) {
    // An image cannot carry the key, a request can.
    call(path).then(response => response.blob()).then(blob => {
      image.src = URL.createObjectURL(blob);
      image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
    }).catch(() => withoutPicture(frame, item, "Picture cannot be shown"));
  } else {
    image.loading = "lazy";
    image.src = path;
  }
  frame.append(image);
  return frame;
}

const shows = item => JSON.stringify([item.item_id, item.title, item.price, item.picture, item.source, item.reason]);

function card(item) {
  const entry = make("li");
  entry.shows = shows(item);
  const button = make("button", "card");
  button.type = "button";
  button.dataset.item = item.item_id;
  button.append(picture(item, 320), make("span", "name", item.title));
  const cost = price(item);
  if (cost) button.append(make("span", "cost", cost));
  if (item.reason) button.append(make("span", `why ${item.source ?? "visual"}`, item.reason));
  button.addEventListener("click", () => look(item.item_id));
  entry.append(button);
  return entry;
}

function fill(list, items, ifEmpty) {
  list.replaceChildren(...(items.length ? items.map(card) : [make("li", "empty", ifEmpty)]));
  list.scrollLeft = 0;
}

// As `fill`, while somebody may be reading: what stays the same is left alone, and so is the place in the strip.
function refill(list, items, ifEmpty) {
  const before = [...list.children];
  if (items.length && before.length === items.length && items.every((item, n) => before[n].shows === shows(item))) return;
  const cards = new Map(before.map(entry => [entry.shows, entry]));
  const held = list.contains(document.activeElement) ? document.activeElement.dataset.item : undefined;
  const at = list.scrollLeft;
  if (!items.length) fill(list, items, ifEmpty);
  else list.replaceChildren(...items.map(item => marked(cards.get(shows(item)), item)));
  list.scrollLeft = at;
  if (held === undefined) return;
  const same = [...list.querySelectorAll(".card")].find(button => button.dataset.item === held);
  (same ?? list).focus({ preventScroll: true });
}

// The entry that is there already, or a new one that can be seen to be new.
function marked(before, item) {
  const entry = before ?? card(item);
  entry.classList.toggle("fresh", before === undefined);
  return entry;
}

function say(text) {
  byId("status").textContent = text;
}

// Runs one part of the page: shows that it works, keeps the newest answer only, tells what went wrong.
async function part(name, place, work) {
  const mine = (asked[name] = (asked[name] ?? 0) + 1);
  const from = key;
  place.classList.add("busy");
  place.setAttribute("aria-busy", "true");
  try {
    const show = await work();
    if (mine !== asked[name]) return false;
    settle(name);
    show();
    return true;
  } catch (trouble) {
    if (mine === asked[name]) complain(name, trouble, from);
    return false;
  } finally {
    if (mine === asked[name]) {
      place.classList.remove("busy");
      place.removeAttribute("aria-busy");
    }
  }
}

// Leaves a part of the page: what was asked for it is not waited for.
function leave(name) {
  asked[name] = (asked[name] ?? 0) + 1;
  byId(name).hidden = true;
  byId(name).classList.remove("busy");
  byId(name).removeAttribute("aria-busy");
  settle(name);
}

// `from`: the key with which was asked; what another one is told says nothing of the one that is used now.
function complain(name, trouble, from) {
  if (!(trouble instanceof Trouble)) throw trouble;
  if (trouble.status === 401 && from !== key) return;
  if (trouble.status === 401) {
    byId("key-form").hidden = false;
    byId("key").focus();
  }
  troubles.delete(name);
  troubles.set(name, trouble.status === 401 && !key ? "Enter the key of this shop." : trouble.message);
  tell();
}

// What went wrong with these parts of the page is so no more, or the visitor has gone on from it.
function settle(...names) {
  for (const name of names) troubles.delete(name);
  tell();
}

function tell() {
  const last = [...troubles.values()].at(-1);
  byId("trouble").hidden = last === undefined;
  if (last !== undefined && byId("trouble").textContent !== last) byId("trouble").textContent = last;
}

const shopper = () => byId("shopper").value;

const listPath = () => `/v1/recommendations?${query({ k: STRIP, ...(shopper() && { user_id: shopper() }) })}`;

const sessionList = () =>
  json(`/v1/recommendations?${query({ k: STRIP })}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ ...(shopper() && { user_id: shopper() }), viewed }),
  });

async function forYou() {
  const shown = await part("for-you", byId("for-you-items"), async () => {
    const path = listPath();
    if (viewed.length) {
      const answer = await sessionList();
      return () => showList(answer, fill);
    }
    const response = await call(path);
    const answer = await body(response);
    return () => {
      seen = { path, tag: response.headers.get("etag") };
      showList(answer, fill);
    };
  });
  if (!shown) seen = {}; // what stands there is not what was asked for: `follow` is to ask for all of it
  return shown;
}

const offered = () => [...byId("for-you-items").querySelectorAll(".card")].map(button => button.dataset.item).join("\n");

function showList(answer, into) {
  into(byId("for-you-items"), answer.items, "Nothing is left to offer.");
  byId("for-you-note").textContent = noteFor(answer);
  byId("forget").hidden = !viewed.length;
  mark();
}

// Takes up what has changed behind the page: a live list, or tables that were loaded anew.
async function follow() {
  if (byId("for-you-items").hasAttribute("aria-busy")) return;
  const mine = asked["for-you"];
  const path = listPath();
  const response = await call(path, seen.path === path ? { headers: { "If-None-Match": seen.tag } } : {});
  if (response.status === 304) return;
  const own = await body(response);
  const answer = viewed.length ? await sessionList() : own;
  if (mine !== asked["for-you"]) return; // the visitor has asked for something meanwhile
  seen = { path, tag: response.headers.get("etag") };
  settle("for-you");
  const before = offered();
  showList(answer, refill);
  if (offered() !== before) say("The list for you has changed.");
}

function noteFor(answer) {
  const looks = `${viewed.length} ${viewed.length === 1 ? "product" : "products"} you just looked at`;
  if (answer.source === "session") return answer.known ? `From your history and ${looks}.` : `From ${looks}.`;
  if (answer.source === "popular") return "You are new here: this is what most people like. Click a product to change it.";
  if (answer.source === "live") {
    return `Live: from your history and what you did last, made at ${new Date(answer.made_at).toLocaleTimeString()}.`;
  }
  return "From your history.";
}

async function look(id) {
  viewed = [...viewed.filter(other => other !== id), id].slice(-LONGEST_SESSION);
  settle("found");
  const product = byId("product");
  let told = "";
  const [shown, changed] = await Promise.all([
    part("product", product, async () => {
      const ask = query({ item_id: id });
      const [item, alike] = await Promise.all([json(`/v1/item?${ask}`), json(`/v1/similar?${ask}&k=${STRIP}`)]);
      return () => {
        open = id;
        showProduct(item, alike);
        product.hidden = false;
        byId("product-title").focus({ preventScroll: true });
        product.scrollIntoView({ block: "start" });
        mark();
        told = `${item.title}: ${alike.items.length} products look like it.`;
      };
    }),
    forYou(),
  ]);
  if (shown && open === id && !product.hidden) say(changed ? `${told} The list for you has changed.` : told);
}

function showProduct(item, alike) {
  byId("product-picture").replaceChildren(picture(item, 320));
  byId("product-title").textContent = item.title;
  byId("product-price").textContent = price(item);
  const facts = [
    ...(item.categories.length ? [["Category", item.categories.join(", ")]] : []),
    ...Object.entries(item.attributes).filter(([, value]) => value !== null),
    ["Liked by", `${item.people} ${item.people === 1 ? "person" : "people"}`],
  ];
  byId("product-facts").replaceChildren(
    ...facts.map(([name, value]) => {
      const row = make("div");
      row.append(make("dt", "", name), make("dd", "", value));
      return row;
    }),
  );
  const none = item.picture === null ? "It has no picture, so nothing looks like it." : "Nothing looks like it.";
  fill(byId("alike-items"), alike.items, none);
}

// Which cards are about the product that is open.
function mark() {
  const current = byId("product").hidden ? null : open;
  for (const button of document.querySelectorAll(".card")) {
    if (button.dataset.item === current) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
}

function shop() {
  return part("shop", byId("shop-items"), async () => {
    const answer = await json(`/v1/items?${query({ offset, limit: PAGE })}`);
    return () => {
      const fresh = answer.items.map(card);
      if (offset === 0) byId("shop-items").replaceChildren(...fresh);
      else byId("shop-items").append(...fresh);
      if (offset > 0) fresh[0]?.querySelector("button").focus({ preventScroll: true });
      if (!answer.total) byId("shop-items").replaceChildren(make("li", "empty", "The catalogue is empty."));
      offset += answer.items.length;
      byId("shop-note").textContent = `${answer.total.toLocaleString()} products, what most people like first`;
      byId("more").hidden = offset >= answer.total;
      const { encoder_id: encoder, loaded_at: loaded } = answer.state;
      byId("state").textContent = `Tables read ${new Date(loaded).toLocaleString()}${encoder ? `, looks by ${encoder}` : ""}.`;
      mark();
    };
  });
}

async function shoppers() {
  const answer = await json(`/v1/users?${query({ limit: 24 })}`);
  settle("shoppers");
  const select = byId("shopper");
  const named = [...select.options].map(option => option.value).slice(1);
  if (named.length && document.activeElement === select) return; // somebody chooses just now
  const chosen = shopper();
  // Whoever is chosen stays, whether they are among those named now or not.
  const users = answer.users.includes(chosen) || !chosen ? answer.users : [chosen, ...answer.users];
  if (users.length === named.length && users.every((user, n) => user === named[n])) return;
  select.replaceChildren(
    new Option("Somebody new", ""),
    ...users.map(user => new Option(user, user, false, user === chosen)),
  );
}

async function search(file) {
  if (!file) return;
  const url = URL.createObjectURL(file);
  const form = new FormData();
  form.append("picture", file);
  const upload = byId("upload");
  settle("product");
  const shown = await part("found", byId("found"), async () => {
    const answer = await json(`/v1/search?k=${STRIP}`, { method: "POST", body: form });
    return () => {
      upload.onload = upload.onerror = () => URL.revokeObjectURL(url);
      upload.src = url;
      byId("found-note").textContent = file.name;
      fill(byId("found-items"), answer.items, "The shop has no pictures to compare with.");
      byId("found").hidden = false;
      byId("found-title").focus({ preventScroll: true });
      byId("found").scrollIntoView({ block: "start" });
      say(`${answer.items.length} products look like your picture.`);
      mark();
    };
  });
  if (!shown) URL.revokeObjectURL(url);
}

function close(section) {
  leave(section);
  mark();
  byId("shop").focus({ preventScroll: true });
}

byId("shopper").addEventListener("change", async () => {
  viewed = [];
  settle("found");
  leave("product");
  if (!(await forYou())) return;
  say(shopper() ? `Shopping as ${shopper()}. The list for you has changed.` : "Shopping as somebody new.");
});
byId("forget").addEventListener("click", async () => {
  viewed = [];
  settle("found");
  leave("product");
  byId("for-you-items").focus();
  if (await forYou()) say("Forgotten. The list for you has changed.");
});
byId("more").addEventListener("click", shop);
byId("found-close").addEventListener("click", () => close("found"));
byId("product-close").addEventListener("click", () => close("product"));
byId("picture").addEventListener("change", event => {
  search(event.target.files[0]);
  event.target.value = ""; // the same picture may be chosen again
});
byId("key-form").addEventListener("submit", event => {
  event.preventDefault();
  key = byId("key").value;
  sessionStorage.setItem("vizrec-key", key);
  byId("key").value = "";
  byId("key-form").hidden = true;
  settle(...troubles.keys());
  begin();
});

let over = 0;
const carriesFiles = event => event.dataTransfer?.types.includes("Files");
addEventListener("dragenter", event => {
  if (!carriesFiles(event)) return;
  over += 1;
  byId("drop").hidden = false;
});
addEventListener("dragleave", event => {
  if (!carriesFiles(event)) return;
  over = Math.max(0, over - 1);
  byId("drop").hidden = over === 0;
});
addEventListener("dragover", event => {
  if (carriesFiles(event)) event.preventDefault();
});
addEventListener("drop", event => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  over = 0;
  byId("drop").hidden = true;
  search(event.dataTransfer.files[0]);
});
addEventListener("paste", event => {
  const file = [...(event.clipboardData?.files ?? [])].find(one => one.type.startsWith("image/"));
  if (file) search(file);
});

let wait = FOLLOW_MS;
let timer = 0;
let turns = 0;
let turning = false;

async function turn() {
  if (turning || document.hidden) return; // nobody looks: the page asks again when it is seen
  turning = true;
  try {
    await follow();
    turns += 1;
    if (turns % SHOPPERS_EVERY === 0 && document.activeElement !== byId("shopper")) await shoppers();
    wait = FOLLOW_MS;
  } catch (trouble) {
    if (!(trouble instanceof Trouble)) throw trouble;
    wait = Math.min(2 * wait, FOLLOW_MOST_MS);
  } finally {
    turning = false;
    later();
  }
}

function later() {
  clearTimeout(timer);
  timer = setTimeout(turn, wait);
}
document.addEventListener("visibilitychange", turn);

async function begin() {
  const from = key;
  offset = 0;
  await Promise.all([shop(), forYou(), shoppers().catch(trouble => complain("shoppers", trouble, from))]);
  document.body.dataset.ready = "true";
  wait = FOLLOW_MS;
  later();
}
begin();
