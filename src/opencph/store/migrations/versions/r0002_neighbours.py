"""The services beside CPH: networks, key pairs and addresses say more; security groups, tags, orders, kept public keys."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("keypairs", sa.Column("user_id", sa.Text(), nullable=True))
    op.add_column("keypairs", sa.Column("description", sa.Text(), nullable=True))
    op.add_column("keypairs", sa.Column("update_ms", sa.BigInteger(), nullable=True))
    op.add_column("vpcs", sa.Column("description", sa.Text(), nullable=True))
    op.add_column("vpcs", sa.Column("enterprise_project_id", sa.Text(), nullable=True))
    op.add_column("vpcs", sa.Column("update_ms", sa.BigInteger(), nullable=True))
    op.add_column("subnets", sa.Column("description", sa.Text(), nullable=True))
    op.add_column("subnets", sa.Column("availability_zone", sa.Text(), nullable=True))
    op.add_column("subnets", sa.Column("dhcp_enable", sa.Integer(), nullable=True))
    op.add_column("subnets", sa.Column("dns_list", sa.Text(), nullable=True))
    op.add_column("subnets", sa.Column("extra_dhcp_opts", sa.Text(), nullable=True))
    op.add_column("subnets", sa.Column("update_ms", sa.BigInteger(), nullable=True))
    op.add_column("eips", sa.Column("alias", sa.Text(), nullable=True))
    op.add_column("eips", sa.Column("bandwidth_id", sa.Text(), nullable=True))
    op.create_index(op.f("ix_eips_bandwidth_id"), "eips", ["bandwidth_id"], unique=False)
    op.create_table(
        "security_groups",
        sa.Column("security_group_id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("vpc_id", sa.Text(), nullable=True),
        sa.Column("enterprise_project_id", sa.Text(), nullable=False),
        sa.Column("create_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.project_id"], name=op.f("fk_security_groups_project_id_projects")),
        sa.PrimaryKeyConstraint("security_group_id", name=op.f("pk_security_groups")),
    )
    op.create_index(op.f("ix_security_groups_project_id"), "security_groups", ["project_id"], unique=False)
    op.create_table(
        "network_tags",
        sa.Column("resource_type", sa.Text(), nullable=False),
        sa.Column("resource_id", sa.Text(), nullable=False),
        sa.Column("tag_key", sa.Text(), nullable=False),
        sa.Column("tag_value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("resource_type", "resource_id", "tag_key", name=op.f("pk_network_tags")),
    )
    op.create_table(
        "kept_public_keys",
        sa.Column("generation_id", sa.Text(), nullable=False),
        sa.Column("keypair_name", sa.Text(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["generation_id"], ["generations.generation_id"], name=op.f("fk_kept_public_keys_generation_id_generations")
        ),
        sa.PrimaryKeyConstraint("generation_id", "keypair_name", name=op.f("pk_kept_public_keys")),
    )
    op.create_table(
        "orders",
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("create_ms", sa.BigInteger(), nullable=False),
        sa.Column("end_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["projects.project_id"], name=op.f("fk_orders_project_id_projects")),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_orders")),
    )
    op.create_index(op.f("ix_orders_project_id"), "orders", ["project_id"], unique=False)
    op.create_table(
        "order_servers",
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("server_id", sa.Text(), nullable=False),
        sa.Column("delivered", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["order_id"], ["orders.order_id"], name=op.f("fk_order_servers_order_id_orders")),
        sa.PrimaryKeyConstraint("order_id", "server_id", name=op.f("pk_order_servers")),
    )
    op.create_index(op.f("ix_order_servers_server_id"), "order_servers", ["server_id"], unique=False)
    # Orders of servers that were bought before there was this table: they have long been delivered, or are on their way.
    creating = "max(CASE WHEN status = 1 THEN 1 ELSE 0 END) = 1"
    op.execute(
        "INSERT INTO orders (order_id, project_id, kind, status, product_id, create_ms, end_ms) "  # noqa: S608 - all of it is ours
        f"SELECT order_id, min(project_id), 'purchase', CASE WHEN {creating} THEN 3 ELSE 5 END, min(product_id), min(create_ms), "
        f"CASE WHEN {creating} THEN NULL ELSE min(update_ms) END FROM servers GROUP BY order_id"
    )
    op.execute(
        "INSERT INTO order_servers (order_id, server_id, delivered) "
        "SELECT order_id, server_id, CASE WHEN status = 1 THEN NULL ELSE 1 END FROM servers"
    )
