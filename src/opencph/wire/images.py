"""Phone images on the wire (cph-api.md section 4, number 28)."""

from __future__ import annotations

import msgspec

from opencph.wire.models import PageInfo


class ListCloudPhoneImagesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """GET /v1/{project_id}/cloud-phone/phone-images."""

    image_type: str = "all"  # public | private | share | all
    marker: str | None = None
    limit: int = 500


class PhoneImage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An image the project may use."""

    image_name: str
    os_type: str
    is_public: int  # 1 public, 2 private
    os_name: str
    image_label: str
    image_id: str
    is_support_encrypt: bool
    receive_status: int | None = None  # of shared images: 0 pending, 1 accepted, 2 rejected


class ListCloudPhoneImagesResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A page of images: public, private, shared."""

    request_id: str
    phone_images: list[PhoneImage]
    page_info: PageInfo
