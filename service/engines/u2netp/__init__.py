"""The embedded engine: U^2-Net-p, a small trained network whose weights come with the installation.

It serves where InSPyReNet's weights cannot be had. Qin, Zhang, Huang, Dehghan, Zaiane and Jagersand, "U^2-Net: Going
deeper with nested U-structure for salient object detection", Pattern Recognition 106 (2020); Apache License 2.0.
"""
