"""The template's copies where machines boot from an image: images in Glance that Nova has made of the template's machine.

Everything that is true of Cinder's snapshots is true of them: names, metadata, promotion. Glance calls metadata properties.
"""

from typing import TYPE_CHECKING, Any

from server.workers.clouds.openstack.client.access import find_or_none
from server.workers.clouds.openstack.template.cinder_copies import Copies
from server.workers.clouds.openstack.template.kept import PROMOTED, TEMPLATE, Kept, promoted_in, seconds_of

if TYPE_CHECKING:
    from openstack.connection import Connection

PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
GB = 1024**3
OURS = "cumulus_"
# Glance's words in Cinder's, which the steps of progress show.
STATUS = {
    "active": "available",
    **dict.fromkeys(("queued", "saving", "uploading", "importing"), "creating"),
    **dict.fromkeys(("deleted", "pending_delete"), "deleting"),
}


class GlanceCopies(Copies):
    """Those of one template. What is copied is a server that is switched off; Cinder is never asked."""

    def sources(self) -> set[str]:
        """None: an image needs nothing of the machine that it was made of."""
        return set()

    def used(self) -> set[str]:
        """Ids of the images that a server was made from: where images and disks share a storage, it needs the image."""
        with self.access.use() as cloud:
            return {str(one.image.id) for one in cloud.compute.servers(details=True) if one.image and one.image.id}

    def listed(self, cloud: "Connection") -> list[Kept]:
        """All images of the template in this project."""
        found = cloud.image.images(owner=cloud.current_project_id)
        return [_kept(one) for one in found if (one.properties or {}).get(TEMPLATE) == self.template]

    def copy(self, cloud: "Connection", name: str, source: str, metadata: dict[str, str]) -> str:
        """Nova begins to make an image of the server with that id. It hands on the properties of the image below."""
        from openstack.compute.v2.server import Server

        return str(Server.new(id=source).create_image(cloud.compute, name, {**metadata, PROMOTED: ""}))

    def delete(self, cloud: "Connection", identifier: str) -> None:
        """Begin to remove it."""
        cloud.image.delete_image(identifier, ignore_missing=True)

    def find(self, cloud: "Connection", identifier: str) -> Kept | None:
        """It as it is now; None where it is gone."""
        found = find_or_none(cloud.image.get_image, identifier)
        return None if found is None else _kept(found)

    def describe(self, one: Kept, metadata: dict[str, str]) -> None:
        """Glance adds a property, or replaces it, by the same word."""
        from openstack.exceptions import raise_from_response

        changes = [{"op": "add", "path": f"/{name}", "value": value} for name, value in metadata.items()]
        with self.access.use() as cloud:
            raise_from_response(cloud.image.patch(f"/images/{one.identifier}", json=changes, headers=PATCH))


def _kept(one: Any) -> Kept:
    """``size_gb``: of the disk that a machine must have for it; an image itself may be smaller."""
    metadata = {str(name): str(value) for name, value in one.properties.items() if str(name).startswith(OURS)}
    needed_gb = max(int(one.min_disk or 0), -(-int(one.size or 0) // GB))
    status = STATUS.get(str(one.status), str(one.status))
    return Kept(str(one.id), str(one.name), status, needed_gb, seconds_of(one.created_at), promoted_in(metadata), metadata)
