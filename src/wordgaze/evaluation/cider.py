"""CIDEr-D of tokenized captions, the references prepared once (Vedantam et al. 2015, sections 4 and 5).

An n-gram is an integer, and a caption's n-grams are arrays of them. Sums run in the order of the words, so that they
equal pycocoevalcap's to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from wordgaze.errors import DataError

Id = TypeVar("Id", bound=Hashable)
Tokens = Sequence[Hashable]
"""Words, or token ids."""

N = 4
"""N-grams of one to four words."""

SIGMA = 6.0
"""Of the length penalty, in words."""

_WORD_BITS = 31


@dataclass(frozen=True)
class _Ngrams:
    """The distinct n-grams of one length in all sentences, sentence by sentence, in order of first appearance.

    ``times``: how often each occurs in its sentence.
    """

    sentence: np.ndarray
    ids: np.ndarray
    times: np.ndarray


class _Vocabulary:
    """Integer ids of words and n-grams; an n-gram's key joins the id of all words but the last with the last one's."""

    def __init__(self) -> None:
        self._words: dict[Hashable, int] = {}
        # Sorted keys and their ids, of each length; unused for single words.
        self._keys = [np.empty(0, np.int64) for _ in range(N)]
        self._ids = [np.empty(0, np.int64) for _ in range(N)]

    def copy(self) -> _Vocabulary:
        """Return a vocabulary of the same ids that can learn more."""
        new = _Vocabulary()
        new._words, new._keys, new._ids = dict(self._words), list(self._keys), list(self._ids)
        return new

    def size(self, order: int) -> int:
        """Return how many n-grams of ``order`` + 1 words are known; their ids are the numbers below that."""
        return len(self._keys[order]) if order else len(self._words)

    def count(self, sentences: Sequence[Tokens], *, learn: bool) -> list[_Ngrams]:
        """Count the n-grams of all sentences, per length.

        Unknown ones get ids from ``size`` up, and keep them if ``learn``.
        """
        lengths = np.fromiter(map(len, sentences), np.int64, len(sentences))
        words = self._word_ids(sentences, learn)
        sentence = np.repeat(np.arange(len(sentences)), lengths)
        # Words to the sentence's end.
        remaining = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(words))
        start, grams = np.arange(len(words)), words
        counts = [_tally(sentence, words)]
        for order in range(1, N):
            longer = remaining[start] > order
            start, grams = start[longer], grams[longer]
            grams = self._ngram_ids(order, grams << _WORD_BITS | words[start + order], learn)
            counts.append(_tally(sentence[start], grams))
        return counts

    def _word_ids(self, sentences: Sequence[Tokens], learn: bool) -> np.ndarray:
        known = self._words
        new = known if learn else {}
        ids: list[int] = []
        for sentence in sentences:
            if isinstance(sentence, str):
                raise TypeError("CIDEr takes a caption's words as a list, not as one string")
            for word in sentence:
                number = known.get(word)
                if number is None:
                    number = new.setdefault(word, len(new) if learn else len(known) + len(new))
                ids.append(number)
        return np.array(ids, np.int64)

    def _ngram_ids(self, order: int, keys: np.ndarray, learn: bool) -> np.ndarray:
        known, ids = self._keys[order], self._ids[order]
        positions, is_known = _find(known, keys)
        result = np.empty(len(keys), np.int64)
        result[is_known] = ids[positions[is_known]]
        new, which = np.unique(keys[~is_known], return_inverse=True)
        result[~is_known] = len(known) + which
        if learn:
            keys = np.concatenate([known, new])
            by_key = np.argsort(keys)
            self._keys[order] = keys[by_key]
            self._ids[order] = np.concatenate([ids, len(known) + np.arange(len(new))])[by_key]
        return result


def _find(keys: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the position of each wanted key in the sorted ``keys``, and whether it is there."""
    positions = np.searchsorted(keys, wanted)
    is_known = positions < len(keys)
    is_known[is_known] = keys[positions[is_known]] == wanted[is_known]
    return positions, is_known


def _tally(sentence: np.ndarray, ids: np.ndarray) -> _Ngrams:
    span = int(ids.max(initial=0)) + 1
    keys, first, times = np.unique(sentence * span + ids, return_index=True, return_counts=True)
    appearance = np.argsort(first)
    return _Ngrams(keys[appearance] // span, keys[appearance] % span, times[appearance])


class DocumentFrequencies:
    """In how many photos' references each n-gram occurs; CIDEr weights n-grams by that.

    ``references`` holds each photo's tokenized references.
    """

    def __init__(self, references: Iterable[Sequence[Tokens]]) -> None:
        groups = list(references)
        self.photos = len(groups)
        self._vocabulary = _Vocabulary()
        self._ngrams = self._vocabulary.count(_flat(groups), learn=True)
        owner = _owners(groups)
        # Of each length, by id.
        self._times: list[np.ndarray] = []
        for order, grams in enumerate(self._ngrams):
            size = max(1, self._vocabulary.size(order))
            self._times.append(np.bincount(np.unique(owner[grams.sentence] * size + grams.ids) % size))


def _flat(groups: Sequence[Sequence[Tokens]]) -> list[Tokens]:
    return [tokens for group in groups for tokens in group]


def _owners(groups: Sequence[Sequence[Tokens]]) -> np.ndarray:
    return np.repeat(np.arange(len(groups)), [len(group) for group in groups])


@dataclass(frozen=True)
class _Postings:
    """The references' n-grams of one length, by (photo, n-gram).

    ``keys`` are sorted and distinct; ``start`` and ``entries`` tell where each key's entries begin, and how many there
    are. Each entry has its ``reference`` and its tf-idf ``weight``; ``norm`` is that of each reference.
    """

    keys: np.ndarray
    start: np.ndarray
    entries: np.ndarray
    reference: np.ndarray
    weight: np.ndarray
    norm: np.ndarray


class CiderD:
    """CIDEr-D against fixed references, which are prepared once, so that candidate sets are scored fast.

    ``references`` maps a photo's id to its tokenized references, lists of words or of token ids. Document frequencies
    are the references' own unless others are given; self-critical training gives those of the whole training set.
    Scores are on pycocoevalcap's scale, 0 to 10. Raises DataError where a photo has no reference.
    """

    def __init__(
        self,
        references: Mapping[Id, Sequence[Tokens]],
        *,
        frequencies: DocumentFrequencies | None = None,
    ) -> None:
        for photo, group in references.items():
            if not group:
                raise DataError(f"Photo {photo} has no reference caption; give it one, or leave the photo out.")
        groups = list(references.values())
        self._rows: dict[Hashable, int] = {photo: row for row, photo in enumerate(references)}
        if frequencies is None:
            frequencies = DocumentFrequencies(groups)
            self._vocabulary, ngrams = frequencies._vocabulary, frequencies._ngrams
        else:
            self._vocabulary = frequencies._vocabulary.copy()
            ngrams = self._vocabulary.count(_flat(groups), learn=True)
        # The idf of an n-gram in no document.
        self._unknown = np.log(float(max(1, frequencies.photos)))
        owner = _owners(groups)
        # References of each photo.
        self._width = np.bincount(owner, minlength=len(groups))
        self._first = np.cumsum(self._width) - self._width
        self._idf: list[np.ndarray] = []
        self._postings: list[_Postings] = []
        for grams, times in zip(ngrams, frequencies._times, strict=True):
            idf = np.full(max(len(times), int(grams.ids.max(initial=0)) + 1), self._unknown)
            idf[: len(times)] -= np.log(np.maximum(1.0, times))
            self._idf.append(idf)
            self._postings.append(_post(grams, idf, owner))
        self._bigrams = _bigrams(ngrams, len(owner))

    def rewards(self, photos: Sequence[Hashable], candidates: Sequence[Tokens]) -> np.ndarray:
        """Return the score of each candidate against the references of its photo, (candidates,) float64.

        A photo may come any number of times, as the samples of self-critical training do. Raises DataError where a
        photo is unknown.
        """
        if len(photos) != len(candidates):
            raise DataError(
                f"There are {len(candidates)} captions but {len(photos)} photo ids; give each caption one id."
            )
        try:
            photo = np.array([self._rows[photo] for photo in photos], np.int64)
        except KeyError as error:
            raise DataError(f"Photo {error.args[0]} has no reference captions; add them, or leave it out.") from None
        ngrams = self._vocabulary.count(candidates, learn=False)
        width = self._width[photo]
        # Each candidate has a pair with each of its photo's references; ``shift`` leads from reference to pair.
        shift = np.cumsum(width) - width - self._first[photo]
        candidate = np.repeat(np.arange(len(photo)), width)
        reference = np.arange(len(candidate)) - shift[candidate]
        penalty = _length_penalty(_bigrams(ngrams, len(photo))[candidate] - self._bigrams[reference])
        total = np.zeros(len(photo))
        for grams, idf, posted in zip(ngrams, self._idf, self._postings, strict=True):
            known = grams.ids < len(idf)
            weight = grams.times * np.where(known, idf[np.where(known, grams.ids, 0)], self._unknown)
            norm = _norms(grams, weight, len(photo))
            positions, matched = _find(posted.keys, photo[grams.sentence] * len(idf) + grams.ids)
            matched &= known
            positions, times = positions[matched], posted.entries[positions[matched]]
            first = posted.start[positions] - np.cumsum(times) + times
            entry = np.arange(times.sum()) + np.repeat(first, times)
            pair = np.repeat(shift[grams.sentence[matched]], times) + posted.reference[entry]
            # CIDEr-D clips the candidate's weight, so that repeating a word of the references gains nothing.
            clipped = np.minimum(np.repeat(weight[matched], times), posted.weight[entry])
            similarity = _sums(pair, clipped * posted.weight[entry], len(candidate))
            scale = norm[candidate] * posted.norm[reference]
            np.divide(similarity, scale, out=similarity, where=scale != 0)
            total += _sums(candidate, similarity * penalty, len(photo))
        return total / N / width * 10.0

    def score(self, candidates: Mapping[Id, Tokens]) -> tuple[float, np.ndarray]:
        """Return the mean over the candidates, one a photo, and each one's score, in their order."""
        scores = self.rewards(list(candidates), list(candidates.values()))
        return math.fsum(scores) / max(1, len(scores)), scores


def _post(grams: _Ngrams, idf: np.ndarray, owner: np.ndarray) -> _Postings:
    weight = grams.times * idf[grams.ids]
    keys = owner[grams.sentence] * len(idf) + grams.ids
    order = np.argsort(keys, kind="stable")
    keys, start, entries = np.unique(keys[order], return_index=True, return_counts=True)
    norm = _norms(grams, weight, len(owner))
    return _Postings(keys, start, entries, grams.sentence[order], weight[order], norm)


def _norms(grams: _Ngrams, weight: np.ndarray, sentences: int) -> np.ndarray:
    return np.sqrt(_sums(grams.sentence, weight * weight, sentences))


def _sums(indices: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """Return the sums of the values of each index, in their order, (size,); float64 also where there are none."""
    return np.bincount(indices, values, size).astype(np.float64, copy=False)


def _bigrams(ngrams: Sequence[_Ngrams], sentences: int) -> np.ndarray:
    """Return the sentences' lengths as pycocoevalcap's penalty takes them: in bigrams, not words."""
    return _sums(ngrams[1].sentence, ngrams[1].times, sentences)


def _length_penalty(difference: np.ndarray) -> np.ndarray:
    values, which = np.unique(difference, return_inverse=True)
    return np.array([math.e ** (-(value**2) / (2 * SIGMA**2)) for value in values.tolist()])[which]
