// Where tiles lie: arithmetic only, no page.

const GAP = 10;
/// A tile's width over its height may range this far before it stops growing. On a screen taller
/// than wide, a square uses more of it.
const RATIO_MIN = 4 / 3;
const RATIO_MIN_UPRIGHT = 1;
const RATIO_MAX = 16 / 9;
/// Below this a face is no longer a face: the grid scrolls instead.
const TILE_WIDTH_MIN = 150;

function cell(columns, count, { width, height }, ratioMin) {
  const rows = Math.ceil(count / columns);
  let w = (width - GAP * (columns - 1)) / columns;
  let h = (height - GAP * (rows - 1)) / rows;
  if (w / h > RATIO_MAX) w = h * RATIO_MAX;
  if (w / h < ratioMin) h = w / ratioMin;
  // What counts is the part of it that a 16:9 picture fills.
  const seen = Math.min(w, h * RATIO_MAX);
  return { columns, rows, w, h, seen };
}

/// Rectangles of `count` tiles of equal size in a box.
export function grid(count, box, ratioMin = RATIO_MIN) {
  const { left, top, width, height } = box;
  if (count === 0 || width <= 0 || height <= 0) return [];
  let best = null;
  for (let columns = 1; columns <= count; columns += 1) {
    const tried = cell(columns, count, box, ratioMin);
    if (!best || tried.seen > best.seen) best = tried;
  }
  const narrowest = Math.min(TILE_WIDTH_MIN, width);
  if (best.seen < narrowest) best = scrolling(count, width, narrowest);
  const heightAll = best.rows * best.h + GAP * (best.rows - 1);
  const y = top + Math.max(0, (height - heightAll) / 2);
  return Array.from({ length: count }, (_, i) => {
    const row = Math.floor(i / best.columns);
    const inRow = Math.min(best.columns, count - row * best.columns);
    // A last row that is not full lies in the middle.
    const x = left + (width - inRow * best.w - GAP * (inRow - 1)) / 2;
    return {
      left: x + (i % best.columns) * (best.w + GAP),
      top: y + row * (best.h + GAP),
      width: best.w,
      height: best.h,
    };
  });
}

function scrolling(count, width, narrowest) {
  const columns = Math.max(1, Math.floor((width + GAP) / (narrowest + GAP)));
  const w = (width - GAP * (columns - 1)) / columns;
  return { columns, rows: Math.ceil(count / columns), w, h: w / RATIO_MAX };
}

/// Rectangles of tiles of which the first `large` have the stage and the others a strip beside it,
/// below it where the box is taller than wide.
export function stage(count, large, box) {
  const small = count - large;
  const wide = box.width > box.height * 1.1;
  if (large === 0 || small === 0) return grid(count, box, wide ? RATIO_MIN : RATIO_MIN_UPRIGHT);
  const main = { ...box };
  const side = { ...box };
  if (wide) {
    side.width = Math.min(260, box.width * 0.24);
    main.width = box.width - side.width - GAP;
    side.left = box.left + main.width + GAP;
  } else {
    main.height = Math.min(box.height * 0.72, (large * box.width) / RATIO_MIN);
    side.height = box.height - main.height - GAP;
    side.top = box.top + main.height + GAP;
  }
  return [...grid(large, main), ...grid(small, side)];
}
