"""The ADB wire protocol, both ends: messages, streams, sync and shell framing. What a service does is not its business."""
