"""The simple search: all rows of a photo at every step, whole vocabularies sorted. What the fast one must equal."""

import torch

NEVER = float("-inf")


def simple_search(model, photos, options, *, bos_id, eos_id, pad_id, prompt_ids=(), photo_seeds=None):
    """Return for each photo of ``photos`` (B, N, D) pairs of ids and their log-probabilities, best first."""
    seeds = photo_seeds or [options.seed] * len(photos)
    forbidden = sorted({bos_id, pad_id} - {eos_id})
    search = _Search(model, options, forbidden, eos_id, [bos_id, *prompt_ids])
    with torch.no_grad():
        if options.sample:
            return [search.samples(photo, seed) for photo, seed in zip(photos, seeds, strict=True)]
        return [search.beams(photo) for photo in photos]


class _Search:
    def __init__(self, model, options, forbidden, eos_id, prefix):
        self.model, self.options, self.forbidden, self.eos_id, self.prefix = model, options, forbidden, eos_id, prefix

    def log_probs(self, photo, rows):
        """Return the model's log-probabilities (R, V) after ``rows``, all of one length, each read from its start."""
        return self.model.decode(torch.tensor(rows), self.model.start(photo[None])).float().log_softmax(-1)

    def allowed(self, log_probs, ids):
        """Return those of one row (V,), -inf where an id may not come after ``ids``."""
        allowed = log_probs.clone()
        allowed[self.forbidden] = NEVER
        if len(ids) - len(self.prefix) + 1 < self.options.min_length:
            allowed[self.eos_id] = NEVER
        size, words = self.options.no_repeat_ngram_size, ids[1:]
        for end in range(size, len(words) + 1) if size else ():
            *before, word = words[end - size : end]
            if before == words[len(words) - size + 1 :]:
                allowed[word] = NEVER
        if allowed.isneginf().all():
            allowed[self.eos_id] = log_probs[self.eos_id]
        return allowed

    def result(self, ids, log_probs):
        return tuple(ids), tuple(log_probs), sum(log_probs) / len(log_probs) ** self.options.length_penalty

    def beams(self, photo):
        options, count = self.options, self.options.num_beams
        rows, finished = [(list(self.prefix), [], torch.tensor(0.0))], []
        for step in range(1, options.max_length + 1):
            last = step == options.max_length
            candidates = []
            for (ids, scores, total), log_probs in zip(
                rows, self.log_probs(photo, [ids for ids, *_ in rows]), strict=True
            ):
                sums = total + self.allowed(log_probs, ids)
                for word in sums.argsort(descending=True, stable=True)[: 2 * count].tolist():
                    if sums[word] > NEVER:
                        candidates.append(([*ids, word], [*scores, log_probs[word].item()], sums[word]))
            candidates = sorted(candidates, key=lambda row: -row[2])[: 2 * count]
            rows = []
            for rank, row in enumerate(candidates):
                ends = row[0][-1] == self.eos_id
                if (ends or last) and (rank < count or last):
                    finished.append(self.result(*row[:2]))
                if not ends:
                    rows.append(row)
            rows = rows[:count]
            finished = sorted(finished, key=lambda result: -result[2])[:count]
            if last or not rows or (len(finished) == count and self.may_stop(finished, rows[0][2].item(), step)):
                break
        return finished[: options.num_captions]

    def may_stop(self, finished, leader, length):
        options = self.options
        if options.early_stopping is True:
            return True
        if options.early_stopping == "never" and options.length_penalty > 0:
            length = options.max_length
        return leader / length**options.length_penalty <= finished[-1][2]

    def samples(self, photo, seed):
        options = self.options
        generator = torch.Generator().manual_seed(seed)
        draws = torch.rand(options.max_length, options.num_captions, generator=generator, dtype=torch.float64)
        results = []
        for draw in draws.T:
            ids, scores = list(self.prefix), []
            while len(scores) < options.max_length:
                [log_probs] = self.log_probs(photo, [ids])
                word = self.draw(self.allowed(log_probs, ids) / options.temperature, draw[len(scores)])
                ids.append(word)
                scores.append(log_probs[word].item())
                if word == self.eos_id:
                    break
            results.append(self.result(ids, scores))
        return sorted(results, key=lambda result: -result[2])

    def draw(self, log_probs, draw):
        """Return the id at ``draw`` of the nucleus of the ``top_k`` likeliest, in the order of ids."""
        order = log_probs.argsort(descending=True, stable=True)
        order = order[: self.options.top_k or None]
        mass = log_probs[order].softmax(-1)
        kept = order[(mass.cumsum(-1) - mass < self.options.top_p) | (torch.arange(len(order)) == 0)]
        kept = kept.sort().values
        mass = log_probs[kept].double().softmax(-1).cumsum(-1)
        return int(kept[int((mass <= draw * mass[-1]).sum().clamp(max=len(kept) - 1))])
