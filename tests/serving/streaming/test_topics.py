"""Topics on a real broker: made, made again, grown, looked at, removed."""

import pytest

from appraise.errors import StreamError, UnknownTopicError
from appraise.serving.streaming.lives import topics_present
from appraise.serving.streaming.topics import create_topics, delete_topics, list_topics


def test_topics_are_made_once(kafka, topics):
    (requests,) = list_topics(kafka, [topics.requests])
    assert [one.partition for one in requests.partitions] == [0, 1]
    assert all((one.beginning, one.end) == (0, 0) for one in requests.partitions)
    assert set(create_topics(kafka, topics.all, partitions=2).values()) == {"unchanged"}


def test_a_topic_with_too_few_partitions_grows_only_when_told(kafka, topics):
    with pytest.raises(StreamError, match="has 2 partitions, and 3 were asked for") as caught:
        create_topics(kafka, topics.all, partitions=3)
    assert "--grow" in caught.value.hint
    assert set(create_topics(kafka, topics.all, partitions=3, grow=True).values()) == {"grown"}
    assert {len(topic.partitions) for topic in list_topics(kafka, topics.all)} == {3}
    with pytest.raises(StreamError, match="has 3 partitions, which cannot become 1"):
        create_topics(kafka, topics.all, partitions=1, grow=True)


def test_more_copies_than_brokers_are_refused_with_the_reason(kafka, topics):
    with pytest.raises(StreamError, match="replication factor") as caught:
        create_topics(kafka, [f"{topics.prefix}copied"], partitions=1, replication=3)
    assert "--replication 1" in caught.value.hint


def test_a_topic_that_is_not_there_is_answered_with_the_nearest(kafka, topics):
    with pytest.raises(UnknownTopicError, match="there is no topic") as caught:
        list_topics(kafka, [f"{topics.prefix}price_request"])
    assert topics.requests in caught.value.hint


def test_deleted_topics_are_gone(kafka, topics):
    assert delete_topics(kafka, [topics.events, "never-made"]) == (topics.events,)
    with pytest.raises(UnknownTopicError) as caught:
        list_topics(kafka, [topics.events])
    assert "appraise stream topics create" in caught.value.hint


def test_a_worker_sees_that_a_topic_went(kafka, topics):
    look = topics_present(kafka, topics.all)
    look()
    delete_topics(kafka, [topics.predictions])
    with pytest.raises(UnknownTopicError, match=topics.predictions):
        look()
