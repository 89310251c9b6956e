"""One program to decode with, in a process of its own, for `decoding.py`: it says when it is ready, then takes turns.

    python decoding_peers.py PEER FILE

A line in: {"prompts": [[ids]], "tokens": n}. A line out: {"seconds": s, "tokens": [[ids]], …}, greedy. A peer that is
not installed, or cannot read the file, says {"skipped": reason}.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Rows = list[list[int]]
Decode = Callable[[Rows, int], Rows]
"""Prompts of one length, and a number of tokens → the tokens of each."""

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def openbook(path: Path, engine: str = "native") -> Decode:
    """Our own, from a model file."""
    from openbook.generation.generate import generate
    from openbook.generation.settings import Sampling
    from openbook.model import load

    opened = load(path, "cpu", engine).engine

    def decode(prompts: Rows, count: int) -> Rows:
        answers: Rows = [[] for _ in prompts]
        for token in generate(opened, prompts, Sampling(temperature=0, max_tokens=count)):
            answers[token.row].append(token.token_id)
        return answers

    return decode


def openbook_torch(path: Path) -> Decode:
    """The reference."""
    return openbook(path, "torch")


def transformers(path: Path) -> Decode:
    """Hugging Face's, from a folder."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(CORES)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()

    def decode(prompts: Rows, count: int) -> Rows:
        tokens = torch.tensor(prompts)
        options = {"max_new_tokens": count, "min_new_tokens": count, "do_sample": False, "pad_token_id": 0}
        whole = model.generate(tokens, attention_mask=torch.ones_like(tokens), **options)
        return whole[:, tokens.shape[1] :].tolist()

    return decode


def llama_cpp(path: Path) -> Decode:
    """llama.cpp by its wheel xllamacpp, whose server decodes a batch side by side, from a GGUF file."""
    import xllamacpp

    asked = xllamacpp.CommonParams()
    asked.model.path = str(path)
    asked.n_ctx, asked.n_parallel = 8 * 1024, 8
    asked.cpuparams.n_threads = asked.cpuparams_batch.n_threads = CORES
    server = xllamacpp.Server(asked)

    seen: set[tuple[int, int, int]] = set()

    def answer(prompt: list[int], request: dict[str, Any], into: list[Any], row: int) -> None:
        found = server.handle_completions({"prompt": prompt, **request})
        into[row] = found if isinstance(found, dict) else json.loads(found)

    def decode(prompts: Rows, count: int) -> Rows:
        request = {"max_tokens": count, "temperature": 0, "cache_prompt": False, "ignore_eos": True}
        case = (len(prompts), len(prompts[0]), count)
        if case not in seen:  # the ids come with probabilities, whose cost is not counted
            request["logprobs"] = 1
        answers: list[Any] = [None] * len(prompts)
        threads = [
            threading.Thread(target=answer, args=(prompt, request, answers, row)) for row, prompt in enumerate(prompts)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if any(each.get("usage", {}).get("completion_tokens") != count for each in answers):
            raise RuntimeError(str(answers)[:200])
        if case in seen:
            return [[-1] * count for _ in prompts]
        seen.add(case)
        return [[each["id"] for each in answer["choices"][0]["logprobs"]["content"]] for answer in answers]

    return decode


def ctranslate2(path: Path) -> Decode:
    """CTranslate2's generator, from a folder of its own."""
    import ctranslate2 as library

    generator = library.Generator(str(path), device="cpu", inter_threads=1, intra_threads=CORES)

    def decode(prompts: Rows, count: int) -> Rows:
        given = [[str(token) for token in prompt] for prompt in prompts]
        found = generator.generate_batch(
            given, max_length=count, min_length=count, beam_size=1, sampling_topk=1, include_prompt_in_result=False
        )
        return [each.sequences_ids[0] for each in found]

    return decode


def onnxruntime_genai(path: Path) -> Decode:
    """ONNX Runtime GenAI, from a folder of its model builder."""
    import onnxruntime_genai as library

    model = library.Model(str(path))

    def decode(prompts: Rows, count: int) -> Rows:
        asked, length = library.GeneratorParams(model), len(prompts[0]) + count
        asked.set_search_options(do_sample=False, max_length=length, min_length=length, batch_size=len(prompts))
        generator = library.Generator(model, asked)
        generator.append_tokens(prompts)
        for _ in range(count):
            generator.generate_next_token()
        return [[int(token) for token in generator.get_sequence(row)[-count:]] for row in range(len(prompts))]

    return decode


def openvino_genai(path: Path) -> Decode:
    """OpenVINO GenAI, from a folder of optimum's exporter."""
    import numpy as np
    import openvino
    import openvino_genai as library

    pipeline = library.LLMPipeline(str(path), "CPU", INFERENCE_NUM_THREADS=CORES)

    def decode(prompts: Rows, count: int) -> Rows:
        asked = library.GenerationConfig()
        asked.max_new_tokens, asked.ignore_eos, asked.do_sample = count, True, False
        ids = openvino.Tensor(np.array(prompts, dtype=np.int64))
        mask = openvino.Tensor(np.ones((len(prompts), len(prompts[0])), dtype=np.int64))
        return [list(each) for each in pipeline.generate(library.TokenizedInputs(ids, mask), asked).tokens]

    return decode


PEERS = (openbook, openbook_torch, transformers, llama_cpp, ctranslate2, onnxruntime_genai, openvino_genai)


def seconds_of_process() -> float:
    """Since the start of this process by the system's clock, so that the interpreter and the imports count (Linux)."""
    ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def memory_of_process() -> dict[str, float]:
    """Gigabytes that this process has had at most, and those of now that are not mapped files (Linux)."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {"peak": int(fields["VmHWM"].split()[0]) / 1e6, "own": int(fields["RssAnon"].split()[0]) / 1e6}


def main() -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes elsewhere
    wanted, path = sys.argv[1], Path(sys.argv[2])

    def say(**what: Any) -> None:
        out.write(json.dumps(what) + "\n")
        out.flush()

    try:
        decode = next(peer for peer in PEERS if peer.__name__ == wanted)(path)
    except Exception as error:
        say(skipped=f"{type(error).__name__}: {error}"[:200])
        return
    say(ready=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            begin = time.perf_counter()
            tokens = decode(request["prompts"], request["tokens"])
            spent = time.perf_counter() - begin
            say(seconds=spent, tokens=tokens, since_start=seconds_of_process(), **memory_of_process())
        except Exception as error:
            say(skipped=f"{type(error).__name__}: {error}"[:200])


if __name__ == "__main__":
    main()
