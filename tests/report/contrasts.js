// WCAG's contrast of each kind of text with the ground it stands on, half-transparent grounds laid over each other.
const channels = (text) => text.match(/[\d.]+/g).map(Number);
const linear = (value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
const luminance = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
const over = (top, under) => under.map((value, i) => (top[3] ?? 1) * top[i] + (1 - (top[3] ?? 1)) * value);
const colour = (element, property) => channels(getComputedStyle(element)[property]);
const ground = (element) =>
  element === null ? [255, 255, 255] : over(colour(element, "backgroundColor"), ground(element.parentElement));

const found = {};
for (const element of document.querySelectorAll("h1, h2, h3, p, a, td, th, li, dd, dt, small, label, kbd, span, button")) {
  const [low, high] = [luminance(colour(element, "color")), luminance(ground(element))].sort((a, b) => a - b);
  found[`${element.tagName}.${element.className}`] = (high + 0.05) / (low + 0.05);
}
return found;
