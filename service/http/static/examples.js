// Example pictures, drawn here, so that a visitor without a photo can try the service.

const SIDE = { width: 960, height: 720 };

export const EXAMPLES = [
  { name: "example-mug.png", title: "Mug", draw: drawMug },
  { name: "example-plant.png", title: "Plant", draw: drawPlant },
  { name: "example-person.png", title: "Person", draw: drawPerson },
];

export function canvasOf({ draw }) {
  const canvas = Object.assign(document.createElement("canvas"), SIDE);
  draw(canvas.getContext("2d"), randomNumbers(7));
  return canvas;
}

export async function exampleFile(example) {
  const blob = await new Promise((done) => canvasOf(example).toBlob(done, "image/png"));
  return new File([blob], example.name, { type: "image/png" });
}

// The same numbers every time (a linear congruential generator, the constants of Numerical Recipes).
function randomNumbers(seed) {
  let state = seed;
  return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
}

function gradient(context, from, to, x0, y0, x1, y1) {
  const made = context.createLinearGradient(x0, y0, x1, y1);
  made.addColorStop(0, from);
  made.addColorStop(1, to);
  return made;
}

function room(context, wall, floor) {
  context.fillStyle = gradient(context, ...wall, 0, 0, 0, 520);
  context.fillRect(0, 0, SIDE.width, 520);
  context.fillStyle = gradient(context, ...floor, 0, 520, 0, 720);
  context.fillRect(0, 520, SIDE.width, 200);
}

function ellipse(context, x, y, rx, ry, fill) {
  context.fillStyle = fill;
  context.beginPath();
  context.ellipse(x, y, rx, ry, 0, 0, 2 * Math.PI);
  context.fill();
}

function shadow(context, x, y, rx) {
  context.filter = "blur(14px)";
  ellipse(context, x, y, rx, 26, "rgba(0, 0, 0, .45)");
  context.filter = "none";
}

function drawMug(context) {
  room(context, ["#8fb2c4", "#c9dbe2"], ["#a9774c", "#7c5230"]);
  shadow(context, 500, 606, 190);
  context.lineWidth = 34;
  context.strokeStyle = "#b8372b";
  context.beginPath();
  context.ellipse(628, 430, 78, 92, 0, -1.9, 1.9);
  context.stroke();
  context.fillStyle = gradient(context, "#e4574a", "#9c2419", 320, 0, 630, 0);
  context.beginPath();
  context.moveTo(318, 270);
  context.lineTo(342, 580);
  context.quadraticCurveTo(474, 632, 606, 580);
  context.lineTo(630, 270);
  context.fill();
  ellipse(context, 474, 270, 156, 42, "#f0877c");
  ellipse(context, 474, 276, 138, 33, "#3a2115");
  ellipse(context, 390, 420, 16, 110, "rgba(255, 255, 255, .28)");
}

function drawPlant(context, random) {
  room(context, ["#e9dcc6", "#f5eee1"], ["#9aa4a8", "#727c80"]);
  shadow(context, 480, 640, 150);
  for (let leaf = 0; leaf < 34; leaf++) {
    context.save();
    context.translate(480 + (random() - 0.5) * 70, 470);
    context.rotate((random() - 0.5) * 2.5);
    const length = 190 + random() * 210;
    context.fillStyle = `hsl(${105 + random() * 40} ${40 + random() * 25}% ${24 + random() * 24}%)`;
    context.beginPath();
    context.moveTo(0, 0);
    context.quadraticCurveTo(-36, -length * 0.6, 0, -length);
    context.quadraticCurveTo(36, -length * 0.6, 0, 0);
    context.fill();
    context.restore();
  }
  context.fillStyle = gradient(context, "#d98252", "#9a4f2b", 370, 0, 590, 0);
  context.beginPath();
  context.moveTo(360, 452);
  context.lineTo(600, 452);
  context.lineTo(566, 650);
  context.lineTo(394, 650);
  context.fill();
  context.fillStyle = "#c06a3e";
  context.fillRect(346, 440, 268, 42);
}

function drawPerson(context, random) {
  context.fillStyle = gradient(context, "#7fb0de", "#dcebf4", 0, 0, 0, 500);
  context.fillRect(0, 0, SIDE.width, SIDE.height);
  context.filter = "blur(10px)";
  for (let bush = 0; bush < 26; bush++) {
    ellipse(context, random() * 960, 470 + random() * 260, 60 + random() * 90, 60 + random() * 60, `hsl(${95 + random() * 40} 34% ${28 + random() * 22}%)`);
  }
  context.filter = "none";
  context.fillStyle = gradient(context, "#2f4a86", "#1b2c55", 0, 470, 0, 720);
  context.beginPath();
  context.moveTo(220, 720);
  context.quadraticCurveTo(240, 510, 420, 490);
  context.lineTo(540, 490);
  context.quadraticCurveTo(720, 510, 740, 720);
  context.fill();
  context.fillStyle = "#c98f6b";
  context.fillRect(432, 400, 96, 120);
  ellipse(context, 480, 290, 112, 142, gradient(context, "#e8b48e", "#cf9670", 380, 0, 590, 0));
  context.strokeStyle = "#3b2415";
  context.lineWidth = 3;
  for (let hair = 0; hair < 420; hair++) {
    const angle = Math.PI + random() * Math.PI;
    const [x, y] = [480 + Math.cos(angle) * 112, 270 + Math.sin(angle) * 132];
    context.beginPath();
    context.moveTo(480 + (random() - 0.5) * 120, 172 + random() * 40);
    context.quadraticCurveTo(x, y - 34, x + (random() - 0.5) * 34, y + 40 + random() * 60);
    context.stroke();
  }
  ellipse(context, 440, 300, 11, 8, "#2b1b12");
  ellipse(context, 520, 300, 11, 8, "#2b1b12");
  context.beginPath();
  context.arc(480, 350, 40, 0.35, Math.PI - 0.35);
  context.stroke();
}
