"""The chapter's network as its TensorFlow, MXNet and JAX editions write it."""


def keras_nin(classes=10):
    import keras

    layers, models = keras.layers, keras.models

    def nin_block(filters, kernel_size, strides, padding):
        return models.Sequential(
            [
                layers.Conv2D(filters, kernel_size, strides=strides, padding=padding),
                layers.Activation("relu"),
                layers.Conv2D(filters, 1),
                layers.Activation("relu"),
                layers.Conv2D(filters, 1),
                layers.Activation("relu"),
            ]
        )

    net = models.Sequential(
        [
            nin_block(96, kernel_size=11, strides=4, padding="valid"),
            layers.MaxPool2D(pool_size=3, strides=2),
            nin_block(256, kernel_size=5, strides=1, padding="same"),
            layers.MaxPool2D(pool_size=3, strides=2),
            nin_block(384, kernel_size=3, strides=1, padding="same"),
            layers.MaxPool2D(pool_size=3, strides=2),
            layers.Dropout(0.5),
            nin_block(classes, kernel_size=3, strides=1, padding="same"),
            layers.GlobalAvgPool2D(),
            layers.Flatten(),
        ]
    )
    net.build((None, 224, 224, 1))
    return net


def keras_edition_nin():
    """As the TensorFlow edition writes it: activations in the convolutions, and a reshape before the flatten."""
    import keras

    layers, Sequential = keras.layers, keras.models.Sequential

    def block(channels, kernel_size, strides, padding):
        first = layers.Conv2D(channels, kernel_size, strides=strides, padding=padding, activation="relu")
        return Sequential([first, *(layers.Conv2D(channels, 1, activation="relu") for _ in range(2))])

    def pool():
        return layers.MaxPool2D(pool_size=3, strides=2)

    blocks = [(96, 11, 4, "valid"), (256, 5, 1, "same"), (384, 3, 1, "same")]
    net = Sequential([layer for settings in blocks for layer in (block(*settings), pool())])
    for layer in (layers.Dropout(0.5), block(10, 3, 1, "same"), layers.GlobalAveragePooling2D()):
        net.add(layer)
    net.add(layers.Reshape((1, 1, 10)))
    net.add(layers.Flatten())
    net.build((None, 224, 224, 1))
    return net


def keras_lenet(classes=10):
    import keras

    layers = keras.layers
    net = keras.models.Sequential(
        [
            layers.Conv2D(6, kernel_size=5, activation="sigmoid", padding="same"),
            layers.AvgPool2D(pool_size=2, strides=2),
            layers.Conv2D(16, kernel_size=5, activation="sigmoid"),
            layers.AvgPool2D(pool_size=2, strides=2),
            layers.Flatten(),
            layers.Dense(120, activation="sigmoid"),
            layers.Dense(84, activation="sigmoid"),
            layers.Dense(classes),
        ]
    )
    net.build((None, 28, 28, 1))
    return net


def gluon_nin(classes=10, arrays=None):
    """The network with its first weights. arrays: ``mx.nd`` by default, or ``mx.np`` as the later edition uses."""
    import mxnet as mx
    from mxnet.gluon import nn

    def nin_block(num_channels, kernel_size, strides, padding):
        block = nn.Sequential()
        block.add(
            nn.Conv2D(num_channels, kernel_size, strides, padding, activation="relu"),
            nn.Conv2D(num_channels, kernel_size=1, activation="relu"),
            nn.Conv2D(num_channels, kernel_size=1, activation="relu"),
        )
        return block

    net = nn.Sequential()
    net.add(
        nin_block(96, kernel_size=11, strides=4, padding=0),
        nn.MaxPool2D(pool_size=3, strides=2),
        nin_block(256, kernel_size=5, strides=1, padding=2),
        nn.MaxPool2D(pool_size=3, strides=2),
        nin_block(384, kernel_size=3, strides=1, padding=1),
        nn.MaxPool2D(pool_size=3, strides=2),
        nn.Dropout(0.5),
        nin_block(classes, kernel_size=3, strides=1, padding=1),
        nn.GlobalAvgPool2D(),
        nn.Flatten(),
    )
    net.initialize(init=mx.init.Xavier())
    net((arrays or mx.nd).zeros((1, 1, 224, 224)))
    return net


def gluon_lenet(classes=10):
    import mxnet as mx
    from mxnet.gluon import nn

    net = nn.Sequential()
    net.add(
        nn.Conv2D(channels=6, kernel_size=5, padding=2, activation="sigmoid"),
        nn.AvgPool2D(pool_size=2, strides=2),
        nn.Conv2D(channels=16, kernel_size=5, activation="sigmoid"),
        nn.AvgPool2D(pool_size=2, strides=2),
        nn.Dense(120, activation="sigmoid"),
        nn.Dense(84, activation="sigmoid"),
        nn.Dense(classes),
    )
    net.initialize(init=mx.init.Xavier())
    net(mx.nd.zeros((1, 1, 28, 28)))
    return net


def flax_nin(classes=10):
    """The module and its variables."""
    import jax
    import jax.numpy as jnp
    from flax import linen as nn

    def nin_block(out_channels, kernel_size, strides, padding):
        return nn.Sequential(
            [
                nn.Conv(out_channels, kernel_size, strides, padding),
                nn.relu,
                nn.Conv(out_channels, kernel_size=(1, 1)),
                nn.relu,
                nn.Conv(out_channels, kernel_size=(1, 1)),
                nn.relu,
            ]
        )

    def pool(x):
        return nn.max_pool(x, (3, 3), strides=(2, 2))

    class NiN(nn.Module):
        def setup(self):
            self.net = nn.Sequential(
                [
                    nin_block(96, kernel_size=(11, 11), strides=(4, 4), padding=(0, 0)),
                    pool,
                    nin_block(256, kernel_size=(5, 5), strides=(1, 1), padding=(2, 2)),
                    pool,
                    nin_block(384, kernel_size=(3, 3), strides=(1, 1), padding=(1, 1)),
                    pool,
                    nn.Dropout(0.5, deterministic=True),
                    nin_block(classes, kernel_size=(3, 3), strides=1, padding=(1, 1)),
                    lambda x: nn.avg_pool(x, (5, 5)),
                    lambda x: x.reshape((x.shape[0], -1)),
                ]
            )

        def __call__(self, x):
            return self.net(x)

    module = NiN()
    return module, module.init(jax.random.key(0), jnp.zeros((1, 224, 224, 1)))
