"""What the names of files and folders mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpconv.data.folders.names import class_name, is_leftover, natural_order, split_of


@pytest.mark.parametrize(
    ("split", "names"),
    {
        "train": "train Train TRAINING training_set seg_train x_train trainset TrainImages train2017 01_train "
        "traindata Trainingsdaten Lernbilder entraînement Entrenamiento treinamento addestramento обучение "
        "eğitim 训练集 訓練データ 学習用 トレーニング 훈련세트",
        "validation": "val valid validation valset dev development eval Evaluation Validierungsdaten validación "
        "验证集 検証 검증 val2017 dev-set",
        "test": "test Test testing test_set seg_test testset test-images hold-out Testbilder pruebas teste "
        "données_test тест 测试集 テスト画像 테스트",
    }.items(),
)
def test_names_of_splits(split, names):
    assert {name: split_of(name) for name in names.split()} == dict.fromkeys(names.split(), split)


@pytest.mark.parametrize(
    "name",
    [
        "cats",
        "station",
        "trainer",
        "invalid",
        "testament",
        "latest",
        "data",
        "images",
        "set",
        "contest",
        "training_cat",
        "train_test",
        "训",
        ".",
    ],
)
def test_other_names(name):
    assert split_of(name) in (None, "train" if name == "训" else None)


def test_a_value_in_a_list_has_no_number():
    assert split_of("dev2") == "validation"
    assert split_of("dev2", numbers=False) is None


@given(st.text(max_size=20))
def test_a_class_name_is_its_own_class_name(name):
    assert class_name(class_name(name)) == class_name(name)
    split_of(name)


@given(st.text(max_size=20), st.text(max_size=20))
def test_the_natural_order_is_total(one, other):
    assert (natural_order(one) == natural_order(other)) == (one == other)
    assert natural_order(one) <= natural_order(other) or natural_order(other) <= natural_order(one)


@given(st.lists(st.integers(-(10**9), 10**9)))
def test_numbers_sort_by_value(numbers):
    assert sorted(map(str, numbers), key=natural_order) == [str(number) for number in sorted(numbers)]


def test_numbers_in_names_sort_by_value():
    assert sorted(["b1", "a10", "a2", "10", "2.5", "2"], key=natural_order) == ["2", "2.5", "10", "a2", "a10", "b1"]


@pytest.mark.parametrize(
    "name", ["@eaDir", ".@__thumb", "Thumbs.db", "desktop.ini", "__MACOSX", ".DS_Store", ".AppleDouble", "lost+found",
             "$RECYCLE.BIN", "System Volume Information", "#recycle", "Icon\r", "~$list.xlsx", "._cat.jpg"]
)  # fmt: skip
def test_leftovers(name):
    assert is_leftover(name)
    assert not is_leftover("cat" + name.strip(".~"))
