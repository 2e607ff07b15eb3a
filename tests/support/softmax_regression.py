"""The simplest Model, in NumPy: one matrix from pixels to classes. It keeps the plans that it receives."""

import numpy as np

from mlpconv.backends.base import Metrics
from mlpconv.training.metrics import softmax


class SoftmaxRegression:
    """bad_steps: the steps, counted from 0, whose loss is not finite."""

    native = None

    def __init__(self, pixels=16, classes=3, bad_steps=()):
        self.matrix = np.zeros((pixels, classes))
        self.bad_steps, self.plans, self.evaluations = set(bad_steps), [], 0
        self.sums = Metrics()
        self.on_step = lambda: None

    def weights(self):
        return {"fc1.weight": self.matrix.T.astype(np.float32)}

    def load_weights(self, weights):
        self.matrix = weights["fc1.weight"].T.astype(float)

    def attach(self, images, labels):
        self.images, self.labels = images, labels

    def train_step(self, plan):
        self.on_step()
        self.plans.append(plan)
        if len(self.plans) - 1 in self.bad_steps:
            self.sums = self.sums._replace(skipped=self.sums.skipped + 1)
            return
        x, labels = self._pixels(self.images[plan.indices]), self.labels[plan.indices]
        chances = softmax(x @ self.matrix)
        own = chances[np.arange(len(labels)), labels]
        loss, correct, examples, skipped = self.sums
        hits = int((chances.argmax(1) == labels).sum())
        self.sums = Metrics(loss - np.log(own).sum(), correct + hits, examples + len(labels), skipped)
        chances[np.arange(len(labels)), labels] -= 1
        self.matrix -= plan.learning_rate * x.T @ chances / len(labels)

    def read_metrics(self, *, reset=False):
        found = self.sums
        if reset:
            self.sums = Metrics()
        return found

    def logits(self, images):
        self.evaluations += 1
        return (self._pixels(images) @ self.matrix).astype(np.float32)

    def training_state(self):
        return {"matrix": self.matrix.copy(), "sums": np.array(self.sums)}

    def load_training_state(self, state):
        self.matrix = state["matrix"].copy()
        loss, *counts = state["sums"].tolist()
        self.sums = Metrics(loss, *map(int, counts))

    @staticmethod
    def _pixels(images):
        return images.reshape(len(images), -1) / 255
