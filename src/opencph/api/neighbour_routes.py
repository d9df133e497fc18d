"""The part of the route table that is not CPH's: VPC, EIP, key pairs, billing. `routes` joins it to the rest."""

from __future__ import annotations

from opencph.api import billing, eip, keypairs, vpc
from opencph.api.routing import Route

_V1 = "/v1/{project_id}"
_V20 = "/v2.0/{project_id}"
_V21 = "/v2.1/{project_id}"
_V3 = "/v3/{project_id}"

NEIGHBOUR_ROUTES: tuple[Route, ...] = (
    # VPC
    Route("CreateVpc", "POST", f"{_V1}/vpcs", vpc.create_vpc, writes=True),
    Route("ListVpcs", "GET", f"{_V1}/vpcs", vpc.list_vpcs),
    Route("ShowVpc", "GET", f"{_V1}/vpcs/{{vpc_id}}", vpc.show_vpc),
    Route("ShowVpcV3", "GET", f"{_V3}/vpc/vpcs/{{vpc_id}}", vpc.show_vpc_v3),
    Route("UpdateVpc", "PUT", f"{_V1}/vpcs/{{vpc_id}}", vpc.update_vpc, writes=True),
    Route("DeleteVpc", "DELETE", f"{_V1}/vpcs/{{vpc_id}}", vpc.delete_vpc, writes=True),
    Route("CreateSubnet", "POST", f"{_V1}/subnets", vpc.create_subnet, writes=True),
    Route("ListSubnets", "GET", f"{_V1}/subnets", vpc.list_subnets),
    Route("ShowSubnet", "GET", f"{_V1}/subnets/{{subnet_id}}", vpc.show_subnet),
    Route("UpdateSubnet", "PUT", f"{_V1}/vpcs/{{vpc_id}}/subnets/{{subnet_id}}", vpc.update_subnet, writes=True),
    Route("UpdateSubnetWithoutVpc", "PUT", f"{_V1}/subnets/{{subnet_id}}", vpc.update_subnet_without_vpc, writes=True),
    Route("DeleteSubnet", "DELETE", f"{_V1}/vpcs/{{vpc_id}}/subnets/{{subnet_id}}", vpc.delete_subnet, writes=True),
    Route("DeleteSubnetWithoutVpc", "DELETE", f"{_V1}/subnets/{{subnet_id}}", vpc.delete_subnet_without_vpc, writes=True),
    Route("ShowVpcTags", "GET", f"{_V20}/vpcs/{{vpc_id}}/tags", vpc.show_vpc_tags),
    Route("ShowSubnetTags", "GET", f"{_V20}/subnets/{{subnet_id}}/tags", vpc.show_subnet_tags),
    Route("BatchCreateVpcTags", "POST", f"{_V20}/vpcs/{{vpc_id}}/tags/action", vpc.batch_create_vpc_tags, writes=True),
    Route("BatchCreateSubnetTags", "POST", f"{_V20}/subnets/{{subnet_id}}/tags/action", vpc.batch_create_subnet_tags, writes=True),
    Route("ListPorts", "GET", f"{_V1}/ports", vpc.list_ports),
    Route("ShowPort", "GET", f"{_V1}/ports/{{port_id}}", vpc.show_port),
    Route("CreateSecurityGroup", "POST", f"{_V1}/security-groups", vpc.create_security_group, writes=True),
    Route("ListSecurityGroups", "GET", f"{_V1}/security-groups", vpc.list_security_groups),
    Route("ShowSecurityGroup", "GET", f"{_V1}/security-groups/{{security_group_id}}", vpc.show_security_group),
    Route("DeleteSecurityGroup", "DELETE", f"{_V1}/security-groups/{{security_group_id}}", vpc.delete_security_group, writes=True),
    # EIP
    Route("CreatePublicip", "POST", f"{_V1}/publicips", eip.create_publicip, writes=True),
    Route("ListPublicips", "GET", f"{_V1}/publicips", eip.list_publicips),
    Route("ShowPublicip", "GET", f"{_V1}/publicips/{{publicip_id}}", eip.show_publicip),
    Route("UpdatePublicip", "PUT", f"{_V1}/publicips/{{publicip_id}}", eip.update_publicip, writes=True),
    Route("DeletePublicip", "DELETE", f"{_V1}/publicips/{{publicip_id}}", eip.delete_publicip, writes=True),
    Route("CreateSharedBandwidth", "POST", f"{_V20}/bandwidths", eip.create_shared_bandwidth, writes=True),
    Route("ListBandwidths", "GET", f"{_V1}/bandwidths", eip.list_bandwidths),
    Route("ShowBandwidth", "GET", f"{_V1}/bandwidths/{{bandwidth_id}}", eip.show_bandwidth),
    Route("UpdatePublicipBandwidth", "PUT", f"{_V1}/bandwidths/{{bandwidth_id}}", eip.update_publicip_bandwidth, writes=True),
    Route("DeleteSharedBandwidth", "DELETE", f"{_V20}/bandwidths/{{bandwidth_id}}", eip.delete_shared_bandwidth, writes=True),
    # key pairs
    Route("CreateKeypair", "POST", f"{_V3}/keypairs", keypairs.create_keypair, writes=True),
    Route("ListKeypairs", "GET", f"{_V3}/keypairs", keypairs.list_keypairs),
    Route("ListKeypairDetail", "GET", f"{_V3}/keypairs/{{keypair_name}}", keypairs.list_keypair_detail),
    Route("UpdateKeypairDescription", "PUT", f"{_V3}/keypairs/{{keypair_name}}", keypairs.update_keypair_description, writes=True),
    Route("DeleteKeypair", "DELETE", f"{_V3}/keypairs/{{keypair_name}}", keypairs.delete_keypair, writes=True),
    Route("NovaCreateKeypair", "POST", f"{_V21}/os-keypairs", keypairs.nova_create_keypair, writes=True),
    Route("NovaListKeypairs", "GET", f"{_V21}/os-keypairs", keypairs.nova_list_keypairs),
    Route("NovaShowKeypair", "GET", f"{_V21}/os-keypairs/{{keypair_name}}", keypairs.nova_show_keypair),
    Route("NovaDeleteKeypair", "DELETE", f"{_V21}/os-keypairs/{{keypair_name}}", keypairs.nova_delete_keypair, writes=True),
    # billing
    Route("ShowCustomerOrderDetails", "GET", billing.ORDER_PATH, billing.show_customer_order_details),
    Route("CancelResourcesSubscription", "POST", billing.UNSUBSCRIBE_PATH, billing.cancel_resources_subscription, writes=True),
    Route("ListServiceTypes", "GET", billing.SERVICE_TYPES_PATH, billing.list_service_types),
)
