// A bookmark that sends a picture of any page here, where the server opens links.

import { h, tell } from "./dom.js";
import { t } from "./strings.js";
import { root } from "./api.js";

// Of a page with several pictures it asks which: a click on one, also where something lies over it.
function code() {
  const here = JSON.stringify(`${location.origin}${root}?url=`);
  return `javascript:(()=>{const go=i=>open(${here}+encodeURIComponent(i.currentSrc||i.src)),`
    + "all=[...document.images].filter(i=>i.width>99&&i.height>99);"
    + `if(!all.length)return alert(${JSON.stringify(t("noPictures"))});if(all.length<2)return go(all[0]);`
    + "const s=document.createElement('style');s.textContent='img{outline:4px solid %23a93f1b!important;outline-offset:-4px!important;cursor:crosshair!important}';document.head.append(s);"
    + "addEventListener('click',e=>{s.remove();e.preventDefault();e.stopImmediatePropagation();const i=document.elementsFromPoint(e.clientX,e.clientY).find(n=>n.tagName==='IMG');if(i)go(i)},{capture:true,once:true})})()";
}

export const bookmarklet = () => h("p", { class: "soft" }, t("bookmarklet"), " ",
  h("a", { class: "button small", href: code(), onclick: (event) => { event.preventDefault(); tell(t("bookmarkletHow")); } }, t("bookmarkletName")));
