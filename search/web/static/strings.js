// Every word of the page; strings_ko.js has them in Korean.

const EN = {
  skip: "Skip to content", search: "Search", browse: "Browse", map: "Map", galleries: "Galleries",
  look: "Look closely", hit: "Found", previous: "Previous", next: "Next", wholePicture: "Whole picture",
  words: "Title, artist or tag", wordsHint: "심청, simcheong, romance …", orWords: "Or ask by words: a title, an artist, a tag.",
  noClip: "What pictures show cannot be searched here: this server has no model for that.",
  byShown: "No name has these words: they were looked for in what the pictures show.", calledSo: "Nothing here is called “{word}”.",
  byWords: "Words were compared with titles, artists, tags, genres and file names, and no style.",
  style: "style", subject: "subject", subjectLabel: "Style or subject", styleAlone: "style alone", subjectShare: "{p} % subject",
  subjectHelp: "Left: drawn alike, whatever is shown. Right: the same thing, in other hands.",
  byBoth: "The list goes {p} % by what is shown; what is said of the artist is about the style alone.",
  density: "How dense", cards: "Cards", largePictures: "Large pictures", contactSheet: "Contact sheet",
  keys: "Keys", keysResults: "In a list", keysLook: "While looking closely", keysOn: "Single keys act",
  keyStep: "Next and previous result", keyLook: "Look closely", keySearch: "Find a title or an artist",
  why: "Why alike?", whyWait: "Comparing part by part …",
  whyMeans: "The pinker a part, the less alike the two would be without the strokes in it. In a picture without pink no part stands out.",
  whyEven: "No part stands out: the likeness lies in all of the drawing.",
  askWith: "Ask with this too", dropWith: "Drop here to ask with it too", tooManyAsked: "At most {n} pictures make one query.", counts: "counts",
  yearsTurned: "{first} is after {last}: no picture is from both.", closenessFilter: "How close at least", anyCloseness: "However close", nearerThan: "Nearer than {p} of pairs",
  paletteFilter: "Only with these colours", paletteExample: "navy, #f2c14e", pickColor: "Pick a colour",
  keyHelp: "This list", keyZoom: "Larger, smaller, whole", keyPan: "Move both pictures", keyClose: "Back to the list",
  otherLabels: "others", noYear: "no year", year: "Year", allLabels: "All {n}", fewerLabels: "Fewer",
  queryHere: "The ringed place is that of your picture, amid those that are drawn most like it.", queryMark: "your picture",
  backToResult: "Back to the result", toQuery: "Go to your picture", onMap: "On the map",
  moreSo: "More of this", lessSo: "Less of this", refined: "Refined by your marks ({n}). What is said of the artist is still about your picture alone.", unmark: "Remove the marks",
  thisPicture: "Drawings like this one",
  wheelHint: "Click the map, or hold Ctrl, to zoom with the wheel",
  account: "Account", language: "한국어", languageLabel: "한국어로 보기",
  headline: "Who draws like this?",
  lead: "Drop a picture, and see the titles that are drawn most like it, and which artist it looks like.",
  drop: "Drop a picture here, or paste it", choose: "Choose pictures", photo: "Take a photo",
  dropNow: "Let go to search", tryOne: "Or start from one of these",
  several: "Several pictures are asked about together. JPEG, PNG, WebP or GIF.",
  indexFacts: "{pictures} pictures from {titles} titles by {authors} artists",
  searching: "Searching …", loading: "Loading …", none: "Nothing was found.",
  found: "{n} found", yourPicture: "Your picture {n}", remove: "Remove", crop: "Choose a part",
  cropTitle: "Which part?", cropHelp: "Drag over the part that counts; in a strip, scroll to it and tap or drag. Its corners can be moved. Arrow keys move it, Shift and arrow keys change its size.",
  useCrop: "Use this part", useWhole: "Whole picture", cancel: "Cancel", add: "Add a picture", again: "New search",
  "concluded looks like": "Looks like {name}", "concluded not sure": "Not sure who drew this",
  "concluded nobody": "Probably nobody in this catalog", "concluded other kind": "Not a drawing of this kind",
  artist: "Artist", genre: "Genre", era: "Era", nobodyHere: "nobody in this catalog", others: "others",
  onlyShares: "{what}: how common each is in the catalog",
  "is very close": "very close", "is close": "close", "is loose": "loose", whatItMeans: "What this means", cosine: "cosine",
  closenessMeans: "Close is nearer than the nearest picture by another artist usually is in this catalog, very close nearer than nearly all of those, loose the rest.",
  filters: "Filters", anyGenre: "All genres", anyPlatform: "All platforms", platform: "Platform", years: "Years",
  from: "from", to: "to", excludeAuthor: "Leave out an author", someoneElse: "Someone else: leave out this artist",
  names: "Words", nearness: "How close", allOfIt: "Artist, genre and era",
  list: "List", byTitle: "titles", byPicture: "pictures", more: "More results", reset: "Reset filters",
  similar: "More like this", share: "Share", copied: "The link is copied: {link}", copyThis: "Link to share",
  export: "Save as", shareNote: "The link stores the style of the picture, not the picture, until {date}.",
  notStored: "The picture itself is not stored, only its style.",
  authorUnknown: "author not known", nearer: "nearer than {p} of pairs by different artists",
  pictureOf: "Picture from {title}", by: "by {name}", drawnAlike: "Drawn alike", works: "Titles", pictures: "Pictures",
  worksCount: "{n} titles", picturesCount: "{n} pictures", picturesCount_one: "1 picture", worksCount_one: "1 title", drift: "How the style moved",
  driftNote: "Each year's mean picture against the first year: the higher, the more alike.",
  authors: "Authors", titles: "Titles", find: "Find a title or an author", morePage: "Show more",
  openPage: "Page of the title", palette: "Colours",
  mapLead: "Every dot is a picture; what is drawn alike lies together. Click one to see it large.",
  mapHelp: "Drag or use the arrow keys to move, + and − to zoom; the wheel zooms once the map is clicked. Enter opens the picture in the middle.", zoomIn: "Zoom in", zoomOut: "Zoom out",
  noMap: "This index has no map. Whoever runs the server can install toonsearch[map] and run `toonsearch index build --force`.", wholeMap: "Whole map", inView: "In view", colourBy: "Colour by",
  candidates: "The filters left {n} of {total} pictures.", itself: "This picture is in the index itself.",
  leftOut: "Left out: {who}.", fewer: "Fewer were found than asked for.",
  noneLeftOut: "No artist is known who could be left out.", expanded: "Also found, through the first ten",
  tooLong: "The picture is too long to be seen whole: choose a part of it.",
  basis: "Index {id} · {n} pictures · model {model}",
  explainFoot: "A list goes from near to far. The bar grows by decades (90, 99, 99.9 %) of the share of pairs by different artists that are less alike.",
  signIn: "Sign in", signOut: "Sign out", register: "Create an account", name: "Name", password: "Password",
  signedIn: "Signed in as {name}", save: "Save to a gallery", keep: "Save", saved: "Saved to {name}.", newGallery: "New gallery",
  galleryName: "Name of the gallery", create: "Create", mine: "My galleries", publicOnes: "Public galleries",
  isPublic: "public", isPrivate: "private", makePublic: "Make public", makePrivate: "Make private", delete: "Delete",
  inBrowser: "In this browser", inBrowserNote: "Kept on this device, without an account. Nobody else sees them.", inAccount: "Of the account {name}",
  keptInBrowser: "Kept in this browser", keptCounts: "Galleries: {galleries}. Recent queries, with their pictures: {queries} ({mb} MB).",
  remember: "Keep the pictures that I ask about here", recentQueries: "Asked lately", askedBefore: "Asked before",
  keptHere: "Kept in this browser alone.", forgetQueries: "Forget recent queries", clearAll: "Clear everything",
  reallyClear: "Clear all galleries of this browser and all recent queries?", rename: "Rename",
  earlier: "Earlier", later: "Later", asFolder: "Save as a folder (zip)", asPage: "Save as a page (HTML)",
  makingFile: "The file is being made …", fileMade: "The file is ready.", leftOutOfFile: "{n} pictures are no longer in the index and were left out.",
  emptyGallery: "Nothing is here yet. “Save to a gallery” under a picture puts it here.",
  galleryGone: "This browser has no such gallery.", galleryFull: "A gallery holds at most {n} pictures. Begin another one.",
  browserFull: "This browser has no room left. Nothing was lost; delete a gallery or forget recent queries, and try again.",
  browserKeepsNothing: "This browser keeps nothing here, perhaps because the window is private. Nothing was lost.",
  notRemembered: "The query was answered but is not kept. {why}",
  reallyDelete: "Delete this gallery?", empty: "Nothing is here yet.", invited: "Accounts are made by whoever runs this server: toonsearch serve --add-account NAME",
  passwordRule: "At least 10 characters.", accountsOff: "This server keeps no accounts.",
  noIndex: "There is no index yet.", noIndexHow: "Two commands make one; this page finds it by itself:",
  url: "or the address of a picture", ask: "Search", retry: "Try again",
  docsLead: "Every route of this server. Open one to try it here: the answer is that of this server.", docsSend: "Send",
  docsPictures: "One or several files.", docsSeveral: "several with commas",
  bookmarklet: "Drag this to your bookmarks, then click it on any page with pictures:", bookmarkletName: "Who draws like this?",
  bookmarkletHow: "Drag it to the bookmarks bar. On another page it asks about the picture that you click there.", noPictures: "There is no picture on this page.",
  docs: "API", source: "Everything stays on this server.", close: "Close", result: "Result",
  tooMany: "At most {n} pictures make one query. Not taken: {names}.",
  notPictures: "Not taken: {names}. Give JPEG, PNG, WebP or GIF files; of a PDF, a comic archive or a folder, give the pages as pictures.",
  andMore: "{names} and {n} more",
  linksAreOff: "This server does not open links. Save the picture and drop the file here.",
  nothingTaken: "There is no picture in that. Drop JPEG, PNG, WebP or GIF files here.",
  panelNumber: "panel {n}", panelOfEpisode: "episode {episode}, panel {n}",
  panelsAsked: "Panels: {n} of {all} asked", panels: "Panels", panelAlone: "Ask with panel {n} alone", panelCounts: "counts",
  panelsHelp: "Click a panel to ask with it alone; untick those that are not to count.",
  askChosen: "Ask with these", allPanels: "All panels", cutAgain: "Cut into panels",
  cutInto: "Cut into {n} panels, each of which asked.", cutSome: "Cut into {all} panels, {n} of which asked, evenly spread.",
  joinedSlices: "The pictures are slices of one strip and were joined.", advertisements: "What looks like advertisements at the end did not ask.",
  missingSlices: "Slices seem to be missing: {names}.", noGutter: "There is no gutter in {n} rows: the strip was cut anyway.",
  repeatedSlice: "{name} repeats the slice above it and was left out.", repeatedRows: "{name} repeats {n} rows of the slice above it.",
  scaledSlice: "{name} was scaled to the width of the other slices, {n} px.", oneFrame: "{name} is animated: one frame of it was cut.",
};

const AGAIN_EN = "Try again in a moment.";
const ERRORS_EN = { // for what the server itself could not answer
  offline: ["The server cannot be reached.", AGAIN_EN], rate: ["That was too many requests in a short time.", AGAIN_EN],
  too_many_bytes: ["The upload is too large.", "Send a smaller copy, or fewer pictures at a time."],
  slow: ["The upload came too slowly.", "Send a smaller picture, or try again over a faster connection."],
  http: ["The request could not be answered.", AGAIN_EN],
};

const stored = () => {
  try { return localStorage.getItem("language"); } catch { return null; }
};

function preferred() {
  const chosen = stored();
  if (chosen === "ko" || chosen === "en") return chosen;
  for (const tag of navigator.languages ?? [navigator.language]) {
    if (/^ko\b/i.test(tag)) return "ko";
    if (/^en\b/i.test(tag)) return "en";
  }
  return "en";
}

let korean = null;
const words = async (tongue) => { if (tongue === "ko") korean ??= await import("./strings_ko.js"); };

export let language = preferred();
await words(language).catch(() => { language = "en"; });

export async function setLanguage(next) {
  await words(next);
  language = next;
  try { localStorage.setItem("language", next); } catch { /* private mode */ }
}

export function t(key, values = {}) {
  const own = language === "ko" ? korean.KO : EN;
  const text = (values.n === "1" && own[`${key}_one`]) || own[key] || key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

// What happened and what to do about it, in the page's language.
export function explain({ code, error, hint }) {
  if (language === "ko") return korean.ERRORS_KO[code] ?? korean.ERRORS_KO.http;
  return error ? [error, hint ?? ""] : ERRORS_EN[code] ?? ERRORS_EN.http;
}

export const number = (value) => new Intl.NumberFormat(language).format(value);
export const share = (value) => `${Math.round(100 * value)}\u00a0%`;

// Cut, not rounded, to the digits that tell it from 100, as on the command line.
export function percent(value) {
  if (value >= 100) return "100\u00a0%";
  const digits = value < 99 ? 1 : value < 99.9 ? 2 : 3;
  const scale = 10 ** digits;
  return `${(Math.floor(value * scale) / scale).toFixed(digits)}\u00a0%`;
}
