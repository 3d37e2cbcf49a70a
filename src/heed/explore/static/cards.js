// The cards in the order of the page. A card: title, lead, start (its state), controls, compute(state) -> numbers,
// equations(state, numbers), say(state, numbers), draw(state, numbers) -> a figure as data.
import { heads } from "./cards/heads.js";
import { masking } from "./cards/masking.js";
import { queries } from "./cards/queries.js";

export const CARDS = { queries, heads, masking };
