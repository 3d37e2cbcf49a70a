// Prompts to begin with. A model that was trained on other text will go on in its own way: that is what one sees here.

const usual = { temperature: 1, top_p: 1, frequency_penalty: 0, presence_penalty: 0, best_of: 1, stop: [], max_tokens: 64 };

export const PRESETS = [
  {
    name: "Free completion: review of a course",
    prompt: "Review of the course on natural language processing\n\nI took this course last spring. The lectures were",
    settings: { ...usual, temperature: 0.8, max_tokens: 120 },
  },
  {
    name: "Few-shot: mending grammar",
    prompt:
      "Correct the grammar of each sentence.\n\n" +
      "Sentence: She no went to the market yesterday.\nCorrected: She did not go to the market yesterday.\n\n" +
      "Sentence: The childs was playing in garden.\nCorrected: The children were playing in the garden.\n\n" +
      "Sentence: I has two brother and one sisters.\nCorrected:",
    settings: { ...usual, temperature: 0, stop: ["\n"], max_tokens: 40 },
  },
  {
    name: "Zero-shot: an instruction",
    prompt: "Rewrite the following sentence so that a child of eight understands it.\n\n" +
      "Sentence: Precipitation is anticipated throughout the afternoon.\nRewritten:",
    settings: { ...usual, temperature: 0.3, stop: ["\n"], max_tokens: 50 },
  },
  {
    name: "Few-shot: BoolQ, yes or no",
    prompt:
      "Answer each question about its passage with yes or no.\n\n" +
      "Passage: The harbour freezes in most winters, and ships then unload at the next port down the coast.\n" +
      "Question: can ships use the harbour all year round\nAnswer: no\n\n" +
      "Passage: Bees that find food fly home and dance, and the dance tells the others where to go.\n" +
      "Question: do bees tell each other where food is\nAnswer: yes\n\n" +
      "Passage: The old bridge was closed to cars in the year when the tunnel opened, and is kept for walkers.\n" +
      "Question: can one drive over the old bridge\nAnswer:",
    settings: { ...usual, temperature: 0, stop: ["\n"], max_tokens: 3, probabilities: "on" },
  },
];
