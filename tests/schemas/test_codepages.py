"""Text in older code pages is read where it is sure which one it is, and only there."""

from __future__ import annotations

import pytest

from schemas.codepages import from_code_page


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        ("신의 탑", "cp949"),
        ("나 혼자만 레벨업·외전, 「회색 도시」", "cp949"),
        ("뷁펲 왕국의 김철수와 영희 이야기 아주 긴 제목을 가진 만화", "cp949"),
        ("신의 탑과 외모지상주의 그리고 싸움 독학 (神)", "cp949"),
        ("ワンピース", "cp932"),
        ("名探偵コナン, 青山剛昌", "cp932"),
        ("José García", "cp1252"),
        ("naïve “quotes”", "cp1252"),
    ],
)
def test_sure_text(text: str, codec: str) -> None:
    assert from_code_page(text.encode(codec)) == (text, codec)


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        ("斗破苍穹", "gbk"),
        ("狐妖小红娘", "gbk"),
        ("我獨自升級", "big5"),
        ("Война и мир", "cp1251"),
        ("Война и мир", "koi8_r"),
        ("สวัสดี", "cp874"),
        ("ワンピース", "euc_jp"),
        ("José García", "mac_roman"),
        ("Frédéric", "mac_roman"),
        ("łódź", "cp1250"),
        ("쀍", "cp949"),
    ],
)
def test_text_that_could_be_in_several_code_pages(text: str, codec: str) -> None:
    assert from_code_page(text.encode(codec)) is None
