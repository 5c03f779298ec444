// Large pictures are made smaller before they are sent: in full size they tell the server nothing
// more, and take minutes over a slow line. What cannot be made smaller is sent as it is.

const SHORT_PX = [1280, 960, 720]; // of the shorter side: the longer one of a strip is its content
const LARGE_BYTES = 1_500_000;
const LARGE_PIXELS = 16_000_000;
const MAX_SIDE_PX = 16_384; // a canvas that every browser draws, phones too
const MAX_PIXELS = 4096 * 4096;
const READ_BY_SERVER = ["image/jpeg", "image/jpg", "image/png", "image/webp", "image/gif"];
const WITHOUT_ALPHA = ["image/jpeg", "image/jpg", "image/heic", "image/heif", "image/bmp"];
const QUALITY = 0.92;

// The pixels of "x%,y%,w%,h%" in an upright image.
export function boxOf(crop, image) {
  const [x, y, w, h] = crop.split(",").map((part) => parseFloat(part) / 100);
  const { naturalWidth: width, naturalHeight: height } = image;
  return [x * width, y * height, w * width, h * height];
}

// { blob, crop } to send: the file with its crop, or a smaller picture of the part itself.
export async function shrunk(file, url, crop) {
  try {
    return (await smaller(file, url, crop)) ?? { blob: file, crop };
  } catch { // the browser cannot decode it; perhaps the server can
    return { blob: file, crop };
  }
}

async function smaller(file, url, crop) {
  const isRead = !file.type || READ_BY_SERVER.includes(file.type);
  if (isRead && await moves(file)) return null; // the server knows which frame has something on it
  const image = await loaded(url);
  const { naturalWidth: width, naturalHeight: height } = image;
  const isLarge = file.size > LARGE_BYTES || width * height > LARGE_PIXELS;
  const box = crop ? boxOf(crop, image) : [0, 0, width, height];
  const [, , w, h] = box;
  const short = Math.min(w, h);
  if (isRead && !(isLarge && (crop || short > SHORT_PX[0]))) return null;
  const scale = SHORT_PX.map((px) => Math.min(1, px / short)).find((one) =>
    Math.max(w, h) * one <= MAX_SIDE_PX && w * h * one * one <= MAX_PIXELS);
  if (!scale) return null;
  const canvas = document.createElement("canvas"); // upright: an image is drawn as it is shown
  canvas.width = Math.max(1, Math.round(w * scale));
  canvas.height = Math.max(1, Math.round(h * scale));
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.drawImage(image, ...box, 0, 0, canvas.width, canvas.height);
  const blob = await encoded(canvas, WITHOUT_ALPHA.includes(file.type) ? "image/jpeg" : "image/webp")
    ?? await encoded(canvas, "image/png");
  canvas.width = 0; // a phone's memory comes back at once
  const gain = blob && (blob.size < file.size || width * height > LARGE_PIXELS || !isRead);
  return gain ? { blob, crop: "" } : null;
}

const loaded = (url) => new Promise((resolve, reject) => {
  const image = new Image();
  image.onload = () => resolve(image);
  image.onerror = reject;
  image.src = url;
});

const encoded = (canvas, type) => new Promise((resolve) => { canvas.toBlob(resolve, type, QUALITY); });

async function moves(file) {
  if (file.type === "image/gif") return true;
  return file.type !== "image/jpeg" && /acTL|ANIM/.test(await file.slice(0, 65_536).text());
}
