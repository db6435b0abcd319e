import pytest

from crop_core.detection import Detection
from crop_core.frame.subjects import Thing, subjects_among
from crop_core.geometry import Box, Size
from crop_core.request import CropRequest

SIZE = Size(600, 400)
AHEAD = ((40.0, 30.0), (60.0, 30.0), (50.0, 40.0), (42.0, 50.0), (58.0, 50.0))


def detection(label: str, *box: float, score: float = 0.9) -> Detection:
    return Detection(label, score, Box(*box), AHEAD if label == "face" else None)


def things(*detections: Detection, **inputs: object) -> tuple[Thing, ...]:
    return subjects_among(detections, SIZE, CropRequest.from_inputs(**inputs))


@pytest.mark.parametrize("mode", ["subject", "objects", "faces"])
def test_no_detections_are_no_subjects(mode: str) -> None:
    assert things(mode=mode) == ()


def test_a_face_belongs_to_the_person_it_lies_in() -> None:
    person, inside, outside = (
        detection("person", 0, 0, 100, 200),
        detection("face", 30, 10, 60, 50),
        detection("face", 400, 10, 430, 50),
    )
    assert sorted(thing.ids for thing in things(person, inside, outside)) == [(0, 1), (2,)]


def test_a_face_on_a_dog_is_no_part_of_the_dog() -> None:
    assert len(things(detection("dog", 0, 0, 100, 200), detection("face", 30, 10, 60, 50))) == 2


def test_two_labels_on_one_thing_count_once_under_the_surer_name() -> None:
    (thing,) = things(detection("dog", 100, 100, 300, 300), detection("cat", 102, 100, 300, 305, score=0.6))
    assert (thing.ids, thing.label, thing.score) == ((0, 1), "dog", 0.9)


def test_two_of_one_label_are_two_however_they_overlap() -> None:
    assert len(things(detection("person", 100, 100, 200, 300), detection("person", 110, 100, 210, 300))) == 2


def test_a_persons_head_ends_where_the_person_does_and_a_lone_ones_at_the_headroom() -> None:
    face = detection("face", 40, 50, 60, 80)  # 30 px high, so the headroom is 12
    (person,) = things(detection("person", 0, 45, 100, 300), face)
    (lone,) = things(face)
    assert (person.head, lone.head) == (Box(40, 45, 60, 80), Box(40, 38, 60, 80))
    assert person.roomy_head == lone.roomy_head == Box(40, 38, 60, 80)
    assert person.airy_head is not None
    assert person.airy_head.y1 == pytest.approx(50 - 4.5 - 0.4 * 39)  # 15 % of margin, and the headroom of that


def test_a_person_with_several_faces_weighs_as_much_as_the_faces_without_it() -> None:
    faces = (detection("face", 100, 60, 160, 130), detection("face", 300, 60, 360, 130))
    (group,) = things(detection("person", 80, 50, 400, 380, score=0.31), *faces)
    assert group.weight == pytest.approx(sum(thing.weight for thing in things(*faces)))


def test_an_unsure_face_gives_way_to_a_sure_one_in_the_same_person() -> None:
    (thing,) = things(
        detection("person", 0, 0, 200, 400),
        detection("face", 50, 20, 90, 70),
        detection("face", 20, 100, 180, 300, score=0.31),
    )
    assert thing.face == Box(50, 20, 90, 70)


@pytest.mark.parametrize(("top", "members"), [(60, [(0, 1)]), (120, [(0,), (1,)])], ids=["under the hair", "lower"])
def test_an_unsure_face_belongs_to_a_person_only_where_a_head_would_be(
    top: float, members: list[tuple[int, ...]]
) -> None:
    found = things(detection("person", 0, 20, 200, 400), detection("face", 50, top, 90, top + 50, score=0.35))
    assert sorted(thing.ids for thing in found) == members


def test_a_sure_face_belongs_to_its_person_wherever_it_lies() -> None:
    (thing,) = things(detection("person", 0, 20, 200, 400), detection("face", 50, 300, 90, 350))
    assert thing.ids == (0, 1)


@pytest.mark.parametrize(
    ("seen", "head"),
    [
        pytest.param(detection("person", 100, 50, 200, 350), Box(100, 50, 200, 90), id="standing"),
        pytest.param(detection("person", 100, 50, 500, 350), None, id="lying"),
        pytest.param(detection("giraffe", 100, 50, 200, 350), Box(100, 50, 200, 150), id="an animal"),
        pytest.param(detection("giraffe", 100, 50, 500, 350), None, id="a wide animal"),
        pytest.param(detection("vase", 100, 50, 200, 350), None, id="no living thing"),
    ],
)
def test_the_head_of_who_stands_is_at_the_top_where_no_face_is_seen(seen: Detection, head: Box | None) -> None:
    (thing,) = things(seen)
    assert (thing.face, thing.head) == (None, head)


@pytest.mark.parametrize(
    ("heavy", "light"),
    [
        pytest.param(detection("dog", 200, 100, 400, 300), detection("dog", 250, 150, 350, 250), id="larger"),
        pytest.param(detection("dog", 200, 100, 400, 300), detection("dog", 0, 0, 200, 200), id="nearer the center"),
        pytest.param(detection("dog", 200, 100, 400, 300), detection("dog", 200, 100, 400, 300, score=0.4), id="surer"),
        pytest.param(detection("face", 50, 50, 90, 100), detection("cup", 50, 50, 90, 100), id="a face"),
    ],
)
def test_what_is_heavier(heavy: Detection, light: Detection) -> None:
    ((one,), (other,)) = things(heavy), things(light)
    assert one.weight > other.weight


def test_a_label_weight_multiplies() -> None:
    dog = detection("dog", 200, 100, 400, 300)
    ((plain,), (tripled,)) = things(dog, labels="dog"), things(dog, labels="dog:3")
    assert tripled.weight == pytest.approx(3 * plain.weight)


@pytest.mark.parametrize(
    ("nose_x", "turn"), [(50.0, 0.0), (60.0, 0.5), (40.0, -0.5), (500.0, 1.0)], ids=["ahead", "right", "left", "odd"]
)
def test_the_gaze_follows_the_nose(nose_x: float, turn: float) -> None:
    landmarks = (AHEAD[0], AHEAD[1], (nose_x, 40.0), AHEAD[3], AHEAD[4])
    (thing,) = things(Detection("face", 0.9, Box(35, 20, 65, 60), landmarks))
    assert thing.gaze == (50.0, 30.0, turn)


def test_labels_and_modes_say_who_may_be_a_subject() -> None:
    scene = (
        detection("person", 0, 0, 100, 200),
        detection("face", 30, 10, 60, 50),
        detection("dog", 300, 100, 500, 300),
    )
    assert [thing.label for thing in things(*scene, mode="objects", order="left_to_right")] == ["person", "dog"]
    assert [thing.label for thing in things(*scene, mode="faces")] == ["face"]
    assert [thing.label for thing in things(*scene, labels="dog")] == ["dog"]
    assert [thing.label for thing in things(*scene, labels="face")] == ["face"]
    assert [thing.label for thing in things(*scene, mode="objects", labels="face")] == ["face"]
