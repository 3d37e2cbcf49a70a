"""A model on this machine answers requests as a server does."""

import pytest

from heed.api import Caller, ChatTurn, CompletionRequest, FailedCallError, RefusedError
from heed.cli import main
from heed.errors import CheckpointError
from heed.generation import score
from heed.prompting.local import LocalModel
from heed.training.run import load_run

PROMPT = "Review : the film and the plot are fine\nMood :"


@pytest.fixture(scope="module")
def model(run):
    return LocalModel(run, device="cpu")


def test_echo_without_an_answer_is_the_score_of_the_text(model, run):
    found = model.complete(CompletionRequest(PROMPT, max_tokens=0, echo=True, logprobs=2)).choices[0]
    gpt, tokenizer, _ = load_run(run)
    scores = score(gpt, tokenizer, [PROMPT], alternatives=2)[0]
    assert found.text == PROMPT == "".join(found.tokens or ())
    assert found.token_ids == tuple(one.id for one in scores)
    assert found.token_logprobs == tuple(one.logprob for one in scores)
    assert found.top_ids == tuple(tuple(id for id, _ in one.alternatives) for one in scores)
    assert found.text_offset is not None
    for at, token in zip(found.text_offset, found.tokens or (), strict=True):
        assert PROMPT[at:].startswith(token)


def test_a_text_and_its_ids_are_answered_alike(model, run):
    _, tokenizer, _ = load_run(run)
    ids = (*tokenizer.start_ids, *tokenizer.encode(PROMPT))
    one, other = (
        model.complete(CompletionRequest(prompt, max_tokens=6, temperature=0.0, logprobs=1)) for prompt in (PROMPT, ids)
    )
    assert one == other
    assert one.prompt_tokens == len(ids)


def test_a_seed_decides_and_none_does_not(model):
    drawn = CompletionRequest(PROMPT, max_tokens=30, temperature=3.0, seed=4)
    assert model.complete(drawn) == model.complete(drawn)
    free = CompletionRequest(PROMPT, max_tokens=30, temperature=3.0)
    assert len({model.complete(free).text for _ in range(5)}) > 1


def test_a_bias_and_several_answers(model):
    found = model.complete(CompletionRequest(PROMPT, max_tokens=1, n=3, seed=1, logit_bias={40: 100.0}))
    assert [one.token_ids for one in found.choices] == [(40,)] * 3


def test_what_it_cannot_answer_is_refused(model):
    long = CompletionRequest(PROMPT * 20, max_tokens=1)
    with pytest.raises(RefusedError, match="the model reads 80"):
        Caller(model).complete(long)
    with pytest.raises(FailedCallError, match="a chat is for an API"):
        model.complete(CompletionRequest((ChatTurn("user", "a"),)))
    with pytest.raises(FailedCallError, match="takes no top_k"):
        model.complete(CompletionRequest("a", extra={"top_k": 3}))


@pytest.mark.slow
def test_a_run_and_its_export_answer_alike(model, run, tmp_path):
    assert main(["export", str(run), "--to", "hf", "--out", str(tmp_path / "exported")]) == 0
    other = LocalModel(tmp_path / "exported", device="cpu")
    request = CompletionRequest(PROMPT, max_tokens=8, temperature=0.0, stop=("\n",))
    assert other.complete(request).text == model.complete(request).text
    assert other.endpoint != model.endpoint  # other files, other answers


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(CheckpointError):
        LocalModel(tmp_path)
