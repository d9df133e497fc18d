"""OpenCPH: a self-hosted cloud phone host that answers the Huawei Cloud CPH API."""

__version__ = "0.1.0"
