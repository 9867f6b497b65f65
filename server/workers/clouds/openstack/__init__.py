"""The cloud ``openstack``: what Terraform cannot do, by openstacksdk. It is imported at the first use: 40 MB and a second."""
