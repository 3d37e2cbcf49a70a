// The cards in the order of the page. A card: title, lead, start (its state), controls, compute(state) -> numbers,
// equations(state, numbers), say(state, numbers), draw(state, numbers) -> a figure as data. Some have the id of a puzzle,
// and what is drawn by chance comes from inputs(state).
import { hard } from "./cards/hard.js";
import { heads } from "./cards/heads.js";
import { kernel } from "./cards/kernel.js";
import { kqv } from "./cards/kqv.js";
import { lowRankCard } from "./cards/low_rank.js";
import { masking } from "./cards/masking.js";
import { queries } from "./cards/queries.js";
import { recurrent } from "./cards/recurrent.js";
import { scaling } from "./cards/scaling.js";
import { superposition } from "./cards/superposition.js";

export const CARDS = { queries, superposition, heads, kqv, scaling, hard, masking, "low-rank": lowRankCard, kernel, recurrent };
