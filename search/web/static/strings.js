// Every word of the page in English and Korean.

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

const KO = {
  skip: "본문으로 건너뛰기", search: "검색", browse: "둘러보기", map: "지도", galleries: "갤러리",
  look: "자세히 보기", hit: "찾은 그림", previous: "이전", next: "다음", wholePicture: "그림 전체",
  words: "제목, 작가 또는 태그", wordsHint: "심청, simcheong, 로맨스 …", orWords: "또는 제목, 작가, 태그로 찾기",
  noClip: "이 서버에는 그려진 것을 찾는 모델이 없어, 이름만 찾을 수 있습니다.",
  byShown: "이 단어가 든 이름이 없어 그림에 그려진 것에서 찾았습니다.", calledSo: "“{word}”(이)라는 이름은 없습니다.",
  byWords: "그림체가 아니라 제목, 작가, 태그, 장르, 파일 이름을 비교했습니다.",
  style: "그림체", subject: "소재", subjectLabel: "그림체 또는 소재", styleAlone: "그림체만", subjectShare: "소재 {p}%",
  subjectHelp: "왼쪽: 소재와 상관없이 비슷한 그림체. 오른쪽: 다른 손이 그린 같은 소재.",
  byBoth: "소재를 {p}% 반영한 순서입니다. 작가에 대한 판단은 그림체만 보고 한 것입니다.",
  density: "보기 방식", cards: "카드", largePictures: "큰 그림", contactSheet: "촘촘히",
  keys: "단축키", keysResults: "목록에서", keysLook: "자세히 볼 때", keysOn: "단축키 사용",
  keyStep: "다음 결과, 이전 결과", keyLook: "자세히 보기", keySearch: "작품이나 작가 찾기",
  why: "왜 닮았나요?", whyWait: "부분마다 견주는 중 …",
  whyMeans: "분홍빛이 짙은 부분일수록, 그곳의 선이 없으면 두 그림이 덜 닮게 됩니다. 분홍빛이 없는 그림에는 두드러진 부분이 없습니다.",
  whyEven: "두드러진 부분이 없습니다. 그림 전체가 고루 닮았습니다.",
  askWith: "이 그림도 함께 묻기", dropWith: "여기에 놓으면 함께 묻습니다", tooManyAsked: "한 번에 그림 {n}장까지 물어볼 수 있습니다.", counts: "비중",
  yearsTurned: "{first}년은 {last}년보다 뒤라서 맞는 그림이 없습니다.", closenessFilter: "가까운 정도", anyCloseness: "가까운 정도 모두", nearerThan: "그림 쌍 {p}보다 가까운 것",
  paletteFilter: "이 색이 있는 그림만", paletteExample: "navy, #f2c14e", pickColor: "색 고르기",
  keyHelp: "이 목록", keyZoom: "확대, 축소, 전체", keyPan: "두 그림 함께 움직이기", keyClose: "목록으로",
  otherLabels: "그 밖", noYear: "연도 모름", year: "연도", allLabels: "{n}개 모두", fewerLabels: "줄이기",
  queryHere: "동그라미가 내 그림의 자리이며, 그림체가 가장 닮은 그림들 사이에 있습니다.", queryMark: "내 그림",
  backToResult: "결과로 돌아가기", toQuery: "내 그림으로", onMap: "지도에서 보기",
  moreSo: "이런 그림 더", lessSo: "이런 그림 덜", refined: "표시한 {n}장으로 다듬은 결과입니다. 작가에 대한 말은 내 그림만 두고 한 것입니다.", unmark: "표시 지우기",
  thisPicture: "이 그림과 닮은 그림",
  wheelHint: "지도를 누르거나 Ctrl을 누른 채 휠을 굴리면 확대됩니다",
  account: "계정", language: "English", languageLabel: "View in English",
  headline: "누가 이렇게 그릴까요?",
  lead: "그림을 놓으면 그림체가 가장 닮은 작품과, 누구의 솜씨일지를 보여 드립니다.",
  drop: "여기에 그림을 놓거나 붙여 넣으세요", choose: "그림 고르기", photo: "사진 찍기",
  dropNow: "놓으면 검색합니다", tryOne: "또는 이 가운데 하나로 시작해 보세요",
  several: "여러 장을 함께 물어볼 수 있습니다. JPEG, PNG, WebP, GIF.",
  indexFacts: "작가 {authors}명, 작품 {titles}편, 그림 {pictures}장",
  searching: "찾는 중 …", loading: "불러오는 중 …", none: "찾은 것이 없습니다.",
  found: "{n}건 찾음", yourPicture: "내 그림 {n}", remove: "빼기", crop: "부분 고르기",
  cropTitle: "어느 부분인가요?", cropHelp: "중요한 부분을 끌어서 고르세요. 긴 그림에서는 그곳까지 내린 다음 누르거나 끄세요. 모서리로 크기를 바꿀 수 있습니다. 화살표 키로 옮기고, Shift와 화살표 키로 크기를 바꿉니다.",
  useCrop: "이 부분으로", useWhole: "그림 전체", cancel: "취소", add: "그림 더하기", again: "새로 검색",
  "concluded looks like": "{name}의 그림체로 보입니다", "concluded not sure": "누가 그렸는지 확실하지 않습니다",
  "concluded nobody": "이 목록에 없는 작가로 보입니다", "concluded other kind": "이 목록과 같은 종류의 그림이 아닙니다",
  artist: "작가", genre: "장르", era: "시대", nobodyHere: "이 목록에 없는 작가", others: "그 밖",
  onlyShares: "{what}: 목록에서 차지하는 비중",
  "is very close": "아주 가까움", "is close": "가까움", "is loose": "느슨함", whatItMeans: "무슨 뜻인가요?", cosine: "코사인",
  closenessMeans: "가까움은 이 목록에서 다른 작가의 가장 가까운 그림이 보통 있는 거리보다 가깝다는 뜻이고, 아주 가까움은 그런 그림 거의 모두보다, 느슨함은 나머지입니다.",
  filters: "조건", anyGenre: "모든 장르", anyPlatform: "모든 플랫폼", platform: "플랫폼", years: "연도",
  from: "부터", to: "까지", excludeAuthor: "제외할 작가", someoneElse: "다른 작가만 보기",
  names: "단어", nearness: "가까운 정도", allOfIt: "작가, 장르, 시대",
  list: "목록", byTitle: "작품", byPicture: "그림", more: "결과 더 보기", reset: "조건 지우기",
  similar: "비슷한 것 더 보기", share: "공유", copied: "링크를 복사했습니다: {link}", copyThis: "공유 링크",
  export: "저장", shareNote: "링크는 그림이 아니라 그림체만, {date}까지 보관합니다.",
  notStored: "그림은 보관하지 않고 그림체만 보관합니다.",
  authorUnknown: "작가 미상", nearer: "서로 다른 작가의 그림 쌍 {p}보다 가깝습니다",
  pictureOf: "{title}의 그림", by: "{name}", drawnAlike: "닮은 그림체", works: "작품", pictures: "그림",
  worksCount: "작품 {n}편", picturesCount: "그림 {n}장", picturesCount_one: "그림 1장", worksCount_one: "작품 1편", drift: "그림체의 변화",
  driftNote: "해마다의 평균 그림을 첫해와 견준 것입니다. 높을수록 비슷합니다.",
  authors: "작가", titles: "작품", find: "작품이나 작가 찾기", morePage: "더 보기",
  openPage: "작품 페이지", palette: "색",
  mapLead: "점 하나가 그림 한 장이고, 그림체가 닮은 것끼리 모여 있습니다. 누르면 크게 보입니다.",
  mapHelp: "끌거나 화살표 키로 움직이고, +, − 키로 확대합니다. 지도를 한 번 누르면 휠로도 확대합니다. Enter를 누르면 가운데 그림이 열립니다.", zoomIn: "확대", zoomOut: "축소",
  noMap: "이 색인에는 지도가 없습니다. 서버 운영자가 toonsearch[map]을 설치하고 `toonsearch index build --force`를 실행하면 생깁니다.", wholeMap: "전체 지도", inView: "지금 보이는 그림", colourBy: "색 기준",
  candidates: "조건에 맞는 그림은 {total}장 가운데 {n}장입니다.", itself: "이 그림은 색인에 들어 있습니다.",
  leftOut: "제외: {who}.", fewer: "요청한 것보다 적게 찾았습니다.",
  noneLeftOut: "제외할 작가를 알 수 없습니다.", expanded: "처음 열 장을 통해 더 찾은 것",
  tooLong: "그림이 너무 길어 한눈에 볼 수 없습니다. 부분을 골라 주세요.",
  basis: "색인 {id} · 그림 {n}장 · 모델 {model}",
  explainFoot: "목록은 가까운 것부터 늘어놓습니다. 막대는 서로 다른 작가의 그림 쌍 가운데 이보다 덜 닮은 쌍의 비율(90, 99, 99.9 %)에 따라 자릿수마다 늘어납니다.",
  signIn: "로그인", signOut: "로그아웃", register: "계정 만들기", name: "이름", password: "비밀번호",
  signedIn: "{name} 님", save: "갤러리에 담기", keep: "담기", saved: "{name}에 담았습니다.", newGallery: "새 갤러리",
  galleryName: "갤러리 이름", create: "만들기", mine: "내 갤러리", publicOnes: "공개 갤러리",
  isPublic: "공개", isPrivate: "비공개", makePublic: "공개하기", makePrivate: "비공개로", delete: "지우기",
  inBrowser: "이 브라우저", inBrowserNote: "계정 없이 이 기기에만 보관하며, 다른 사람은 볼 수 없습니다.", inAccount: "{name} 계정",
  keptInBrowser: "이 브라우저에 보관한 것", keptCounts: "갤러리 {galleries}개, 최근 검색 {queries}건과 그 그림({mb} MB).",
  remember: "검색한 그림을 여기에 보관하기", recentQueries: "최근 검색", askedBefore: "전에 검색한 그림",
  keptHere: "이 브라우저에만 보관합니다.", forgetQueries: "최근 검색 지우기", clearAll: "모두 지우기",
  reallyClear: "이 브라우저의 갤러리와 최근 검색을 모두 지울까요?", rename: "이름 바꾸기",
  earlier: "앞으로", later: "뒤로", asFolder: "폴더로 저장 (zip)", asPage: "한 페이지로 저장 (HTML)",
  makingFile: "파일을 만드는 중 …", fileMade: "파일을 만들었습니다.", leftOutOfFile: "그림 {n}장은 색인에 더는 없어 뺐습니다.",
  emptyGallery: "아직 아무것도 없습니다. 그림 아래의 ‘갤러리에 담기’를 누르면 여기에 담깁니다.",
  galleryGone: "이 브라우저에 그런 갤러리가 없습니다.", galleryFull: "갤러리 하나에는 그림을 {n}장까지 담을 수 있습니다. 새 갤러리를 만들어 주세요.",
  browserFull: "브라우저에 남은 공간이 없습니다. 잃은 것은 없습니다. 갤러리나 최근 검색을 지운 다음 다시 해 주세요.",
  browserKeepsNothing: "이 브라우저는 여기에 아무것도 보관하지 않습니다. 비공개 창일 수 있습니다. 잃은 것은 없습니다.",
  notRemembered: "검색은 되었지만 보관하지 못했습니다. {why}",
  reallyDelete: "이 갤러리를 지울까요?", empty: "아직 아무것도 없습니다.", invited: "계정은 서버 운영자가 만듭니다: toonsearch serve --add-account NAME",
  passwordRule: "열 글자 이상.", accountsOff: "이 서버는 계정을 두지 않습니다.",
  noIndex: "아직 색인이 없습니다.", noIndexHow: "명령 두 개로 만들 수 있고, 이 페이지가 스스로 찾아냅니다:",
  url: "또는 그림 주소", ask: "검색", retry: "다시 시도",
  docsLead: "Every route of this server. Open one to try it here: the answer is that of this server.", docsSend: "Send",
  docsPictures: "One or several files.", docsSeveral: "several with commas",
  bookmarklet: "Drag this to your bookmarks, then click it on any page with pictures:", bookmarkletName: "Who draws like this?",
  bookmarkletHow: "Drag it to the bookmarks bar. On another page it asks about the picture that you click there.", noPictures: "There is no picture on this page.",
  docsLead: "이 서버의 모든 주소입니다. 하나를 열어 바로 시험해 볼 수 있습니다.", docsSend: "보내기",
  docsPictures: "파일 하나 또는 여러 개.", docsSeveral: "여럿은 쉼표로",
  bookmarklet: "북마크 막대로 끌어다 놓고, 그림이 있는 아무 페이지에서나 누르세요:", bookmarkletName: "누가 이렇게 그릴까?",
  bookmarkletHow: "북마크 막대로 끌어다 놓으세요. 다른 페이지에서 누르면 그곳에서 고른 그림으로 검색합니다.", noPictures: "이 페이지에는 그림이 없습니다.",
  docs: "API", source: "모든 것은 이 서버에만 머뭅니다.", close: "닫기", result: "결과",
  tooMany: "한 번에 그림 {n}장까지 물어볼 수 있습니다. 받지 않은 것: {names}.",
  notPictures: "받지 않은 것: {names}. JPEG, PNG, WebP, GIF 파일을 주세요. PDF, 만화 압축 파일, 폴더는 쪽을 그림으로 꺼내서 주세요.",
  andMore: "{names} 외 {n}개",
  linksAreOff: "이 서버는 링크를 열지 않습니다. 그림을 저장한 다음 그 파일을 여기에 놓아 주세요.",
  nothingTaken: "그 안에 그림이 없습니다. JPEG, PNG, WebP, GIF 파일을 놓아 주세요.",
  panelNumber: "컷 {n}", panelOfEpisode: "{episode}화 컷 {n}",
  panelsAsked: "컷: {all}개 가운데 {n}개로 물었습니다", panels: "컷", panelAlone: "컷 {n}만으로 검색", panelCounts: "넣기",
  panelsHelp: "컷을 누르면 그 컷만으로 검색합니다. 빼고 싶은 컷은 체크를 끄세요.",
  askChosen: "고른 컷으로 검색", allPanels: "모든 컷", cutAgain: "컷으로 나누기",
  cutInto: "컷 {n}개로 나누어 하나하나 물었습니다.", cutSome: "컷 {all}개로 나누고, 그 가운데 고르게 {n}개로 물었습니다.",
  joinedSlices: "한 회차를 나눈 그림들이라 이어 붙였습니다.", advertisements: "끝에 있는 광고로 보이는 그림은 뺐습니다.",
  missingSlices: "빠진 조각이 있는 것 같습니다: {names}.", noGutter: "{n}줄 동안 컷 사이 여백이 없어 그대로 나누었습니다.",
  repeatedSlice: "{name}: 위 조각과 같아서 뺐습니다.", repeatedRows: "{name}: 위 조각과 {n}줄이 겹칩니다.",
  scaledSlice: "{name}: 다른 조각의 너비 {n}픽셀에 맞추었습니다.", oneFrame: "{name}: 움직이는 그림이라 한 장면만 나누었습니다.",
};

// The server's sentences are English; for Korean readers each code has what happened and what to do.
const AGAIN_KO = "잠시 뒤에 다시 시도해 주세요.";
const ERRORS_KO = {
  format: ["읽을 수 있는 그림이 아닙니다.", "JPEG, PNG, WebP, GIF를 보내 주세요."],
  too_many_bytes: ["보낸 것이 너무 큽니다.", "그림을 줄이거나 한 번에 적게 보내 주세요."],
  too_many_pixels: ["그림이 너무 큽니다.", "줄인 것이나 그 일부를 보내 주세요."],
  too_small: ["그림이 너무 작습니다.", "더 큰 그림이나 더 넓은 부분을 보내 주세요."],
  truncated: ["그림 파일이 중간에서 끊겨 있습니다.", "처음부터 다시 받거나 저장한 파일을 보내 주세요."],
  damaged: ["그림 파일이 손상되었습니다.", "다른 프로그램으로 다시 저장해서 보내 주세요."],
  blank: ["그림에 그려진 것이 없습니다.", "무엇인가 그려진 그림이나 부분을 보내 주세요."],
  empty: ["그림이 없습니다.", "그림을 골라서 다시 보내 주세요."],
  form: ["보낸 것을 읽을 수 없습니다.", "그림을 다시 골라 주세요."],
  crop: ["고른 부분이 올바르지 않습니다.", "부분을 다시 골라 주세요."],
  weights: ["그림마다의 비중이 올바르지 않습니다.", "0보다 큰 수를 그림마다 하나씩 주세요."],
  no_index: ["아직 쓸 수 있는 색인이 없습니다.", "서버 운영자가 색인을 만들어야 합니다."],
  rate: ["짧은 시간에 요청이 너무 많았습니다.", AGAIN_KO], busy: ["지금 요청이 많습니다.", AGAIN_KO],
  slow: ["보내는 데 너무 오래 걸렸습니다.", "더 작은 그림을 보내거나 더 빠른 연결에서 다시 시도해 주세요."],
  method: ["그렇게 쓸 수 없는 주소입니다.", AGAIN_KO],
  not_found: ["찾는 것이 없습니다.", "그림으로 다시 검색해 주세요."],
  other_model: ["다른 모델로 만든 결과입니다.", "그림으로 다시 검색해 주세요."],
  disk_full: ["서버의 디스크가 가득 찼습니다.", "서버 운영자에게 알려 주세요."],
  store: ["서버가 자료를 읽거나 쓸 수 없습니다.", AGAIN_KO], locked: ["서버가 자료를 바꾸는 중입니다.", AGAIN_KO],
  offline: ["서버에 연결할 수 없습니다.", AGAIN_KO], bug: ["서버에서 문제가 생겼습니다.", "서버 기록에 남았습니다."],
  input: ["이 조건으로는 찾을 수 없습니다.", "조건을 바꾸거나 지워 보세요."],
  parameter: ["조건이 올바르지 않습니다.", "조건을 바꾸거나 지워 보세요."],
  network: ["그 주소에서 그림을 가져올 수 없습니다.", "그림을 저장한 다음 그 파일을 놓아 주세요."],
  sign_in: ["로그인이 필요합니다.", ""], password: ["이름이나 비밀번호가 맞지 않습니다.", "다시 입력해 주세요."],
  taken: ["이미 있는 이름입니다.", "다른 이름을 골라 주세요."], name: ["쓸 수 없는 이름입니다.", "다른 이름을 써 주세요."],
  short: ["비밀번호가 너무 짧습니다.", "열 글자 이상으로 정해 주세요."],
  full: ["더 담을 수 없습니다.", "먼저 다른 것을 지워 주세요."], off: ["이 서버에서는 꺼 둔 기능입니다.", ""],
  invited: ["계정은 서버 운영자가 만듭니다.", "운영자에게 부탁해 주세요."],
  origin: ["다른 사이트에서 온 요청은 받지 않습니다.", "이 페이지의 주소가 맞다면 서버 운영자가 프록시에서 Host를 그대로 넘겨야 합니다."],
  host: ["이 서버의 이름이 아닙니다.", "서버 운영자에게 알려 주세요."],
  http: ["요청을 처리할 수 없습니다.", AGAIN_KO],
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

export let language = preferred();

export function setLanguage(next) {
  language = next;
  try { localStorage.setItem("language", next); } catch { /* private mode */ }
}

export function t(key, values = {}) {
  const own = language === "ko" ? KO : EN;
  const text = (values.n === "1" && own[`${key}_one`]) || own[key] || key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

// What happened and what to do about it, in the page's language.
export function explain({ code, error, hint }) {
  if (language === "ko") return ERRORS_KO[code] ?? ERRORS_KO.http;
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

// Sets of words that both languages must have; a test compares them.
export const words = { en: Object.keys(EN), ko: Object.keys(KO) };
