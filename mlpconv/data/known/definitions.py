"""The data sets known by name: what they are, who made them, where they are published.

To add one, append a `Source` to ``KNOWN``. Its ``format`` names the function in ``readers.READERS`` that reads it.
"""

import math

from mlpconv.data.known.source import Archive, Source, SourceFile

_DIGITS = tuple("0123456789")


def _idx_files(
    counts: tuple[int, int],
    names: tuple[str, str, str, str],
    md5: tuple[str, str, str, str] = ("", "", "", ""),
    *,
    image_size: tuple[int, int] = (28, 28),
    label_shape: tuple[int, ...] = (),
    label_bytes: int = 1,
) -> tuple[SourceFile, ...]:
    """The gzipped IDX files of a data set in the style of MNIST.

    Args:
        counts: Number of images for training and for testing.
        names: File names without `.gz`: training images, training labels, test images, test labels.
        md5: MD5 of each file as published.
        image_size: (height, width).
        label_shape: Shape of the label of one image; () for a single number.
        label_bytes: Bytes of each number in a label.
    """
    train, test = counts
    sizes = (
        _idx_size((train, *image_size)),
        _idx_size((train, *label_shape), label_bytes),
        _idx_size((test, *image_size)),
        _idx_size((test, *label_shape), label_bytes),
    )
    roles = ("train_images", "train_labels", "test_images", "test_labels")
    return tuple(
        SourceFile(role=role, name=name, size=size, md5=checksum)
        for role, name, size, checksum in zip(roles, names, sizes, md5, strict=True)
    )


def _idx_size(shape: tuple[int, ...], value_bytes: int = 1) -> int:
    """Bytes of an uncompressed IDX file."""
    return 4 + 4 * len(shape) + value_bytes * math.prod(shape)


def _mnist_files(md5: tuple[str, str, str, str]) -> tuple[SourceFile, ...]:
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    return _idx_files((60_000, 10_000), names, md5)


def _emnist(variant: str, title: str, class_names: tuple[str, ...], counts: tuple[int, int]) -> Source:
    prefix = f"emnist-{variant}"
    names = (
        f"{prefix}-train-images-idx3-ubyte",
        f"{prefix}-train-labels-idx1-ubyte",
        f"{prefix}-test-images-idx3-ubyte",
        f"{prefix}-test-labels-idx1-ubyte",
    )
    return Source(
        name=prefix,
        title=title,
        class_names=class_names,
        image_shape=(28, 28, 1),
        counts=counts,
        licence="a work of the US government (NIST Special Database 19): public domain in the USA",
        citation="Cohen, Afshar, Tapson, van Schaik: EMNIST: an extension of MNIST to handwritten letters, 2017, "
        "arXiv:1702.05373",
        format="emnist",
        files=_idx_files(counts, names),
        archive=Archive(
            url="https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
            size=600_000_000,
            md5="58c8d27c78d21e728a6bc7b3cc06412e",
            prefix="gzip",
        ),
    )


def _cifar(
    classes: int, class_names: tuple[str, ...], size: int, md5: str, prefix: str, files: tuple[SourceFile, ...]
) -> Source:
    return Source(
        name=f"cifar{classes}",
        title=f"CIFAR-{classes}: small color photographs in {classes} classes",
        class_names=class_names,
        image_shape=(32, 32, 3),
        counts=(50_000, 10_000),
        licence="none stated; free to use with citation",
        citation="Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009",
        format="cifar",
        files=files,
        archive=Archive(
            url=f"https://www.cs.toronto.edu/~kriz/cifar-{classes}-binary.tar.gz", size=size, md5=md5, prefix=prefix
        ),
    )


_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree
wolf woman worm
"""

KNOWN: tuple[Source, ...] = (
    Source(
        name="fashion-mnist",
        title="Fashion-MNIST: photographs of clothes and shoes, grayscale",
        class_names=(
            "t-shirt",
            "trouser",
            "pullover",
            "dress",
            "coat",
            "sandal",
            "shirt",
            "sneaker",
            "bag",
            "ankle boot",
        ),
        image_shape=(28, 28, 1),
        counts=(60_000, 10_000),
        licence="MIT",
        citation=(
            "Xiao, Rasul, Vollgraf: Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning "
            "Algorithms, 2017, arXiv:1708.07747"
        ),
        files=(
            SourceFile(
                role="train_images",
                name="train-images-idx3-ubyte",
                size=47_040_016,
                sha256="c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            ),
            SourceFile(
                role="train_labels",
                name="train-labels-idx1-ubyte",
                size=60_008,
                sha256="bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            ),
            SourceFile(
                role="test_images",
                name="t10k-images-idx3-ubyte",
                size=7_840_016,
                sha256="5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            ),
            SourceFile(
                role="test_labels",
                name="t10k-labels-idx1-ubyte",
                size=10_008,
                sha256="0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            ),
        ),
        urls=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        ),
        debian_package="dataset-fashion-mnist",
        debian_directory="/usr/share/datasets/fashion-mnist",
    ),
    Source(
        name="mnist",
        title="MNIST: handwritten digits, grayscale",
        class_names=_DIGITS,
        image_shape=(28, 28, 1),
        counts=(60_000, 10_000),
        licence="CC BY-SA 3.0",
        citation="LeCun, Bottou, Bengio, Haffner: Gradient-Based Learning Applied to Document Recognition, 1998, "
        "doi:10.1109/5.726791",
        files=_mnist_files(
            (
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            )
        ),
        urls=(
            "http://yann.lecun.com/exdb/mnist/",
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
        ),
    ),
    Source(
        name="kmnist",
        title="Kuzushiji-MNIST: cursive Japanese characters, grayscale",
        class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        image_shape=(28, 28, 1),
        counts=(60_000, 10_000),
        licence="CC BY-SA 4.0",
        citation="Clanuwat, Bober-Irizar, Kitamoto, Lamb, Yamamoto, Ha: Deep Learning for Classical Japanese "
        "Literature, 2018, arXiv:1812.01718",
        files=_mnist_files(
            (
                "bdb82020997e1d708af4cf47b453dcf7",
                "e144d726b3acfaa3e44228e80efcd344",
                "5c965bf0a639b31b8f53240b1b52f4d7",
                "7320c461ea6c1c855c0b718fb2a4b134",
            )
        ),
        urls=("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
    ),
    _emnist(
        "balanced",
        "EMNIST balanced: handwritten digits and letters, grayscale",
        (*_DIGITS, *"ABCDEFGHIJKLMNOPQRSTUVWXYZ", *"abdefghnqrt"),
        (112_800, 18_800),
    ),
    _emnist(
        "letters",
        "EMNIST letters: handwritten letters of both cases, grayscale",
        tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        (124_800, 20_800),
    ),
    _cifar(
        10,
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        170_052_171,
        "c32a1d4ab5d03f1284b67883e8d87530",
        "cifar-10-batches-bin",
        (
            *(
                SourceFile(role=f"train_{number}", name=f"data_batch_{number}.bin", size=30_730_000, zipped=False)
                for number in range(1, 6)
            ),
            SourceFile(role="test", name="test_batch.bin", size=30_730_000, zipped=False),
        ),
    ),
    _cifar(
        100,
        tuple(_CIFAR100.split()),
        168_513_733,
        "03b5dce01913d631647c71ecec9e9cb8",
        "cifar-100-binary",
        (
            SourceFile(role="train", name="train.bin", size=153_700_000, zipped=False),
            SourceFile(role="test", name="test.bin", size=30_740_000, zipped=False),
        ),
    ),
    Source(
        name="svhn",
        title="SVHN: digits cropped from photographs of house numbers, in color",
        class_names=_DIGITS,
        image_shape=(32, 32, 3),
        counts=(73_257, 26_032),
        licence="for non-commercial use only",
        citation="Netzer, Wang, Coates, Bissacco, Wu, Ng: Reading Digits in Natural Images with Unsupervised Feature "
        "Learning, 2011",
        format="svhn",
        files=(
            SourceFile(
                role="train",
                name="train_32x32.mat",
                size=182_040_794,
                md5="e26dedcc434d2e4c54c9b2d4a06d8373",
                zipped=False,
            ),
            SourceFile(
                role="test",
                name="test_32x32.mat",
                size=64_275_384,
                md5="eb5a983be6a315427106f1b164d9cef3",
                zipped=False,
            ),
        ),
        urls=("http://ufldl.stanford.edu/housenumbers/",),
    ),
    Source(
        name="digits",
        title="Digits: small handwritten digits included in scikit-learn, grayscale",
        class_names=_DIGITS,
        image_shape=(8, 8, 1),
        counts=(1_437, 360),
        licence="CC BY 4.0",
        citation=(
            "Alpaydin, Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998, "
            "doi:10.24432/C50P49"
        ),
        extra="digits",
    ),
)
